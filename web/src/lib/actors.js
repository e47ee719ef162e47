/* Who did something, in words: "token:ID" becomes the token's name for those who may read it. */
import { listAll } from './api.js';

export function actorNames(session, signal) {
    const names = new Map();
    const loaded = session.can('token:write')
        ? listAll('/v1/tokens', { signal }).then(
              (tokens) => tokens.forEach((token) => names.set(token.id, token.name)),
              () => {},
          )
        : Promise.resolve();
    return { loaded, of: (actor) => (actor === session.id ? 'you' : actorWords(actor, names)) };
}

export function actorWords(actor, names = new Map()) {
    const [kind, id = ''] = String(actor ?? '').split(/:(.*)/s);
    switch (kind) {
        case 'token':
            return names.has(id) ? `token ${names.get(id)}` : `token ${id}`;
        case 'session':
            return `a browser (${id})`;
        case 'socket':
            return `user ${id} on the host`;
        case 'system':
            return 'Drover itself';
        default:
            return String(actor ?? '');
    }
}
