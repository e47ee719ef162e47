/* Who is signed in. The cookie is HttpOnly: this file never sees a secret it could keep. */
import { del, get, request } from './api.js';

export class Session {
    constructor(facts) {
        this.id = facts.id ?? '';
        this.name = facts.name ?? '';
        this.role = facts.role ?? '';
        this.scopes = facts.scopes ?? [];
        this.project = facts.project ?? '';
    }

    /* Only decides what is offered; the daemon decides what is allowed. */
    can(scope) {
        return this.scopes.includes(scope);
    }
}

export async function currentSession() {
    try {
        return new Session(await get('/v1/session', { quiet401: true }));
    } catch (problem) {
        if (problem.status === 401) {
            return null;
        }
        throw problem;
    }
}

/* proof: {code} from a one-time link, or {token}. */
export async function signIn(proof) {
    await request('POST', '/v1/session', { body: proof, quiet401: true });
    return currentSession();
}

export async function signOut() {
    await del('/v1/session', { quiet401: true });
}

/* The code of a sign-in link; taken out of the address bar and the history before it is used. */
export function takeCode() {
    const match = /^#code=(.+)$/.exec(location.hash);
    if (!match) {
        return null;
    }
    history.replaceState(null, '', location.pathname + location.search);
    return decodeURIComponent(match[1]);
}
