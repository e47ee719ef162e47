/* Controls that several forms have. What they begin with is what form.reset() goes back to. */
import { h } from './dom.js';
import { field } from './forms.js';

export function textInput(props) {
    const input = h('input', {
        type: 'text',
        autocomplete: 'off',
        autocapitalize: 'none',
        spellcheck: 'false',
        ...props,
    });
    input.defaultValue = input.value;
    return input;
}

export function numberInput(value, min, max, props) {
    const input = h('input', {
        type: 'number',
        min,
        max,
        step: 1,
        required: true,
        inputmode: 'numeric',
        ...props,
    });
    input.defaultValue = String(value);
    return input;
}

/* options: [[value, words], …] */
export function select(options, chosen, props) {
    return h(
        'select',
        props,
        options.map(([value, words]) => {
            const option = h('option', { value }, words);
            option.defaultSelected = value === chosen;
            return option;
        }),
    );
}

export function imageOptions(images) {
    return [...images.map((image) => [image.name, image.name]), ['', 'none']];
}

export function nameField(extra) {
    return field({
        label: 'Name',
        pointer: '/name',
        help: 'Lower-case letters, digits and hyphens.',
        control: textInput({
            required: true,
            maxlength: 63,
            pattern: '[a-z0-9]([a-z0-9\\-]{0,61}[a-z0-9])?',
        }),
        ...extra,
    });
}
