/* Makes the pane that a stream needs. Loaded with the first console; each kind loads its own parts. */
import { streamTitle } from '../lib/streams.js';
import { icon, h } from '../lib/dom.js';

export async function openPane(wanted) {
    const { vm, stream, session, onClose } = wanted;
    const extras = [
        h(
            'button',
            {
                type: 'button',
                class: 'button small pane-close',
                'aria-label': `Close ${streamTitle(stream)} of ${vm().name}`,
                title: 'Close: ends this connection; the machine does not notice',
                onclick: onClose,
            },
            icon('close'),
        ),
    ];
    const options = {
        ...wanted,
        mayControl: session.can('console:control'),
        extras: [],
        closing: extras,
        menuExtras: [],
    };
    if (stream === 'display') {
        const { displayPane } = await import('./display.js');
        return displayPane(options);
    }
    const { terminalPane } = await import('./pane.js');
    return terminalPane(options);
}
