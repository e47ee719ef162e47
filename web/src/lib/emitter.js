/* Named signals. A listener lives until its AbortSignal fires. */
export class Emitter {
    #listeners = new Map();

    on(name, fn, signal) {
        const set = this.#listeners.get(name) ?? new Set();
        this.#listeners.set(name, set.add(fn));
        signal?.addEventListener('abort', () => set.delete(fn));
    }

    emit(name, ...args) {
        for (const fn of [...(this.#listeners.get(name) ?? [])]) {
            fn(...args);
        }
    }
}
