/*
 * What xterm.js gets instead of a <style> element (build.mjs swaps it in): an inert element whose
 * text goes into a constructed style sheet, which a strict Content-Security-Policy allows.
 */
export function styleElement() {
    const sheet = new CSSStyleSheet();
    const element = document.createElement('template');
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    Object.defineProperty(element, 'textContent', {
        get: () => [...sheet.cssRules].map((rule) => rule.cssText).join('\n'),
        set: (css) => sheet.replaceSync(css),
    });
    element.remove = () => {
        document.adoptedStyleSheets = document.adoptedStyleSheets.filter((s) => s !== sheet);
        Element.prototype.remove.call(element);
    };
    return element;
}
