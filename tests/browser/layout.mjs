// What a reader would call broken, found by measuring: things laid over one another, words cut in two.

/* Words and controls whose boxes share more than a sliver; what contains the other is left out. */
export const overlaps = (on) =>
    on.evaluate(() => {
        const SLIVER = 3;
        const isSeen = (element) =>
            element.checkVisibility({
                visibilityProperty: true,
                opacityProperty: true,
                contentVisibilityAuto: true,
            }) &&
            !element.closest('.visually-hidden, .shelf, .skip, svg, canvas, .xterm, .plot, .console');
        const leaves = [...document.querySelectorAll('main *, header *')].filter(
            (element) =>
                isSeen(element) &&
                (element.matches('button, input, select, textarea, a, summary') ||
                    (element.childElementCount === 0 && element.textContent.trim() !== '')),
        );
        /* A link that wraps has a box on each line. */
        const boxes = leaves.flatMap((element) =>
            [...element.getClientRects()]
                .map((rect) => ({ element, box: clipped(element, rect) }))
                .filter(({ box }) => box && box.right - box.left > 1 && box.bottom - box.top > 1),
        );

        /* As far as the boxes that scroll around it show it. */
        function clipped(element, rect) {
            let { left, right, top, bottom } = rect;
            for (let at = element.parentElement; at; at = at.parentElement) {
                if (getComputedStyle(at).overflowX !== 'visible') {
                    const box = at.getBoundingClientRect();
                    [left, right] = [Math.max(left, box.left), Math.min(right, box.right)];
                    [top, bottom] = [Math.max(top, box.top), Math.min(bottom, box.bottom)];
                }
            }
            return right > left && bottom > top ? { left, right, top, bottom } : null;
        }

        const faults = [];
        const name = (element) => {
            const words = element.getAttribute('aria-label') ?? element.textContent;
            return `${element.tagName.toLowerCase()} “${words.trim().slice(0, 30)}”`;
        };
        for (const [i, a] of boxes.entries()) {
            for (const b of boxes.slice(i + 1)) {
                const across = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
                const down = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
                if (
                    a.element !== b.element &&
                    across > SLIVER &&
                    down > SLIVER &&
                    !a.element.contains(b.element) &&
                    !b.element.contains(a.element)
                ) {
                    faults.push(`${name(a.element)} lies over ${name(b.element)}`);
                }
            }
        }
        return faults.slice(0, 5);
    });

/* Single words of navigation, headings, buttons and column titles that do not fit on a line. */
export const wordsThatBreak = (on) =>
    on.evaluate(() => {
        const faults = [];
        const places = 'nav a, h1, h2, h3, button, thead th, .tag, dt, label';
        for (const element of document.querySelectorAll(places)) {
            if (!element.checkVisibility({ contentVisibilityAuto: true }) || element.closest('.visually-hidden')) {
                continue;
            }
            const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) {
                for (const { 0: word, index } of walker.currentNode.data.matchAll(/[\p{L}\d]{2,20}/gu)) {
                    const range = document.createRange();
                    range.setStart(walker.currentNode, index);
                    range.setEnd(walker.currentNode, index + word.length);
                    const tops = new Set([...range.getClientRects()].map(({ top }) => Math.round(top)));
                    if (tops.size > 1) {
                        faults.push(`the word “${word}” is broken`);
                    }
                }
            }
        }
        return faults.slice(0, 5);
    });
