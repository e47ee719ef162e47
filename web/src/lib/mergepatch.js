/* RFC 7396 the other way round: what has to be sent so that `from` becomes `to`. Pure. */
const isObject = (v) => v !== null && typeof v === 'object' && !Array.isArray(v);

/* Equal whatever the order of members. */
export function same(a, b) {
    if (Array.isArray(a) && Array.isArray(b)) {
        return a.length === b.length && a.every((item, index) => same(item, b[index]));
    }
    if (isObject(a) && isObject(b)) {
        const keys = Object.keys(a);
        return (
            keys.length === Object.keys(b).length &&
            keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]))
        );
    }
    return a === b;
}

export function mergePatch(from, to) {
    const patch = {};
    for (const key of Object.keys(from)) {
        if (!Object.hasOwn(to, key)) {
            patch[key] = null;
        }
    }
    for (const [key, value] of Object.entries(to)) {
        if (!Object.hasOwn(from, key)) {
            patch[key] = value;
        } else if (!same(from[key], value)) {
            const deeper = isObject(from[key]) && isObject(value);
            patch[key] = deeper ? mergePatch(from[key], value) : value;
        }
    }
    return patch;
}

/* What RFC 7396 says a patch makes of something. */
export function applyPatch(to, patch) {
    const made = { ...to };
    for (const [key, value] of Object.entries(patch)) {
        if (value === null) {
            delete made[key];
        } else {
            made[key] = isObject(value)
                ? applyPatch(isObject(to[key]) ? to[key] : {}, value)
                : value;
        }
    }
    return made;
}

/* One line for each member that a patch touches: [path, before, after]; undefined: not there. */
export function changesOf(from, patch, path = '') {
    return Object.entries(patch).flatMap(([key, value]) => {
        const at = `${path}/${key}`;
        const before = Object.hasOwn(from ?? {}, key) ? from[key] : undefined;
        if (isObject(value) && isObject(before)) {
            return changesOf(before, value, at);
        }
        return [[at, before, value === null ? undefined : value]];
    });
}
