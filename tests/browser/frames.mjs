// How smoothly a page scrolls: how much of the main thread's own time a frame costs. That time does not
// pass while other work has the CPU, so that a busy machine makes a page no slower than it is.

const STEP_PX = 300; /* 18,000 pixels in a second: a hard flick */
const MOST_STEPS = 120;
const MOST_MS = 50; /* of the thread, for a frame: what takes longer is what browsers call a long task */

const scroll = (on) =>
    on.evaluate(
        async ([step, most]) => {
            const end = Math.min(document.documentElement.scrollHeight, step * most);
            const gaps = [];
            for (let last = performance.now(), y = 0; y < end; y += step) {
                scrollTo(0, y);
                await new Promise(requestAnimationFrame);
                gaps.push(performance.now() - last);
                last = performance.now();
            }
            gaps.sort((a, b) => a - b);
            return { count: gaps.length, median: gaps[gaps.length >> 1], worst: gaps.at(-1) };
        },
        [STEP_PX, MOST_STEPS],
    );

export async function scrolled(on) {
    const session = await on.context().newCDPSession(on);
    await session.send('Performance.enable', { timeDomain: 'threadTicks' });
    const spent = async () => {
        const { metrics } = await session.send('Performance.getMetrics');
        return 1000 * metrics.find(({ name }) => name === 'TaskDuration').value;
    };
    const before = await spent();
    const frames = await scroll(on);
    const each = ((await spent()) - before) / frames.count;
    await on.evaluate(() => scrollTo(0, 0));
    await session.detach();
    return {
        isSmooth: each < MOST_MS,
        words:
            `${frames.count} frames of ${each.toFixed(1)} ms work each; they took ` +
            `${frames.median.toFixed(0)} ms in the median, ${frames.worst.toFixed(0)} at worst`,
    };
}
