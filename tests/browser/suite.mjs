// The dashboard, from the first link to the last click. Tests run in order and share one machine.
import './modules.mjs';
import './first.mjs';
import './consoles.mjs';
import './sharing.mjs';
import './recordings.mjs';
import './streams.mjs';
import './images.mjs';
import './fetching.mjs';
import './guest_agent.mjs';
import './care.mjs';
import './activity.mjs';
import './editing.mjs';
import './places.mjs';
import './sets.mjs';
import './controls.mjs';
import './density.mjs';
import './live.mjs';
import './states.mjs';
import './late.mjs';
import './hostile.mjs';
import './herd.mjs';
import './budget.mjs';
import './faults.mjs';
import './pages.mjs';
import './host.mjs';
import './last.mjs';
import { env, runAll } from './harness.mjs';
import { browser, name, page, shot, takeAway } from './shared.mjs';

async function cleanUp() {
    if (env.token) {
        await fetch(`${env.url}/v1/vms/${name}?force=true`, {
            method: 'DELETE',
            headers: { Authorization: `Bearer ${env.token}` },
        });
        return;
    }
    await page
        .evaluate(async (wanted) => {
            await fetch(`/v1/vms/${wanted}?force=true`, { method: 'DELETE' });
        }, name)
        .catch(() => {});
}

let failures = 0;
const good = await runAll(process.argv.slice(2), async () => {
    failures += 1;
    await shot(page, `failure-${failures}.png`).catch(() => {});
});
await takeAway();
await cleanUp();
await browser.close();
process.exit(good ? 0 : 1);
