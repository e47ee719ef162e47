/*
 * How the daemon does, as its answers tell: reachable, slow, and how far its clock is from ours.
 *
 * Signals: "slow" (true | false), "skew" (milliseconds the host is ahead; 0: near enough).
 */
import { Emitter } from './emitter.js';

const SLOW_MS = 5000;
const SKEW_MS = 30000; /* below, a second more or less in a header and on the way is nothing */

class Health extends Emitter {
    slow = false;
    skew = 0;
    #open = new Map(); /* request -> timer */
    #late = new Set();

    /* To be called when a request goes out; answers what is to be called when it is over. */
    begin() {
        const request = {};
        const sent = Date.now();
        this.#open.set(
            request,
            setTimeout(() => {
                this.#late.add(request);
                this.#setSlow();
            }, SLOW_MS),
        );
        return (response) => {
            clearTimeout(this.#open.get(request));
            this.#open.delete(request);
            this.#late.delete(request);
            this.#setSlow();
            this.#learnClock(response?.headers?.get('Date'), sent, Date.now());
        };
    }

    #setSlow() {
        const slow = this.#late.size > 0;
        if (slow !== this.slow) {
            this.slow = slow;
            this.emit('slow', slow);
        }
    }

    /* The header is cut to whole seconds and was written somewhere between the two moments. */
    #learnClock(date, sent, received) {
        const theirs = date ? Date.parse(date) + 500 : NaN;
        if (Number.isNaN(theirs) || received - sent > SLOW_MS) {
            return;
        }
        const ahead = theirs - (sent + received) / 2;
        const skew = Math.abs(ahead) < SKEW_MS ? 0 : ahead;
        if (Math.abs(skew - this.skew) > 2000 || (skew === 0) !== (this.skew === 0)) {
            this.skew = skew;
            this.emit('skew', skew);
        }
    }
}

export const health = new Health();

/* What the host's clock says now: its times are compared with this, not with ours. */
export function hostNow() {
    return Date.now() + health.skew;
}
