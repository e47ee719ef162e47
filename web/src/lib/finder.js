/* A box that finds among what a page lists; there only when it is more than a screen can show. */
import { h, setHidden, setText } from './dom.js';
import { count } from './format.js';

const MANY = 12;
const CROWD = 60; /* from here on, what is off the screen is not laid out */

/* list: the element whose children are looked through, filled and filled again by its page. what: "tokens". */
export function finder(list, what) {
    const box = h('input', {
        type: 'search',
        'aria-label': `Find among the ${what}`,
        placeholder: 'Find',
        autocomplete: 'off',
        spellcheck: 'false',
        oninput: () => look(),
    });
    const found = h('span', { class: 'help', role: 'status' });
    const root = h('div', { class: 'finder', hidden: true }, box, found);

    function look() {
        const all = [...list.children];
        const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
        let shown = 0;
        for (const item of all) {
            const text = words.length > 0 ? item.textContent.toLowerCase() : '';
            const fits = words.every((word) => text.includes(word));
            setHidden(item, !fits);
            shown += Number(fits);
        }
        setHidden(root, all.length <= MANY && words.length === 0);
        setText(
            found,
            words.length > 0 ? `${count(shown)} of ${count(all.length)}` : count(all.length),
        );
        list.classList.toggle('crowd', all.length > CROWD);
    }

    new MutationObserver(look).observe(list, { childList: true });
    look();
    return root;
}
