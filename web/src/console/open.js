/* Makes the pane that a stream needs. Loaded with the first console; each kind loads its own parts. */
import { h, icon, setHidden, setText } from '../lib/dom.js';
import { startRecording, stopRecording } from '../lib/recordings.js';
import { isPipe, streamTitle } from '../lib/streams.js';
import { action } from './parts.js';

export async function openPane({ vm, stream, session, recorder, isOn, onClose, signal }) {
    const title = streamTitle(stream);
    const share = h(
        'button',
        { type: 'button', class: 'button small', onclick: openShare },
        icon('share'),
        'Share',
    );
    const close = h(
        'button',
        {
            type: 'button',
            class: 'button small',
            'aria-label': `Close ${title} of ${vm().name}`,
            title: 'Ends this connection; the machine does not notice',
            onclick: onClose,
        },
        icon('close'),
    );
    const record = recordButton({ vm, stream, session, recorder, isOn, signal });

    async function openShare() {
        const { shareDialog } = await import('../lib/share.js');
        shareDialog({ vm: vm(), stream, session });
    }

    const options = {
        vm,
        stream,
        mayControl: session.can('console:control'),
        isOn,
        signal,
        extras: [share],
        menuExtras: [record],
        closing: [close],
    };
    if (stream === 'display') {
        const { displayPane } = await import('./display.js');
        return displayPane(options);
    }
    const { terminalPane } = await import('./pane.js');
    return terminalPane(options);
}

/* Everybody who looks sees that it is recorded; who may type may also start and stop it. */
function recordButton({ vm, stream, session, recorder, isOn, signal }) {
    const button = action('Record', async () => {
        const now = recorder.of(vm().id, stream);
        button.disabled = true;
        await (now ? stopRecording(now) : startRecording(vm(), stream));
        button.disabled = false;
        recorder.load();
    });
    const offered = !isPipe(stream) && session.can('console:control');

    function show() {
        const now = recorder.of(vm().id, stream);
        setText(button, now ? 'Stop recording' : 'Record');
        setHidden(button, !offered || !(now || isOn()));
    }
    recorder.on('change', show, signal);
    show();
    return button;
}
