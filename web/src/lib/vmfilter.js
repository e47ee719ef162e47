/* Which machines the list shows and in which order; kept in the address, so that Back finds it. Pure. */
export const SORTS = {
    name: { words: 'Name', of: (vm) => vm.name, down: false },
    state: { words: 'State', of: (vm) => vm.state, down: false },
    cpu: { words: 'CPU', of: (vm, f) => f?.cpu?.usage_percent ?? -1, down: true },
    memory: { words: 'Memory', of: (vm, f) => f?.memory?.resident_bytes ?? -1, down: true },
    created: { words: 'Newest', of: (vm) => vm.created_at ?? '', down: true },
};

/* The part of an address after its question mark. */
export function readFilter(query) {
    const asked = new URLSearchParams(query ?? '');
    const sort = Object.hasOwn(SORTS, asked.get('sort') ?? '') ? asked.get('sort') : 'name';
    const order = asked.get('order');
    return {
        text: asked.get('q') ?? '',
        state: asked.get('state') ?? '',
        label: asked.get('label') ?? '',
        sort,
        down: order ? order === 'down' : SORTS[sort].down,
    };
}

export function writeFilter({ text, state, label, sort, down }) {
    const query = new URLSearchParams();
    const put = (key, value) => value && query.set(key, value);
    put('q', text);
    put('state', state);
    put('label', label);
    put('sort', sort !== 'name' && sort);
    put('order', down !== SORTS[sort].down && (down ? 'down' : 'up'));
    return query.toString();
}

export function labelsOf(vm) {
    return Object.entries(vm.labels ?? {}).map(([key, value]) => (value ? `${key}=${value}` : key));
}

/* Every word must be somewhere: "web running" is a machine called web-1 that runs. */
export function matcher({ text, state, label }) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return (vm) => {
        if ((state && vm.state !== state) || (label && !labelsOf(vm).includes(label))) {
            return false;
        }
        const all = [
            vm.name,
            vm.state,
            vm.image,
            vm.effective_acceleration,
            vm.description,
            vm.id,
            ...labelsOf(vm),
        ]
            .join(' ')
            .toLowerCase();
        return words.every((word) => all.includes(word));
    };
}

/* figuresOf(id): the newest figures, or nothing. Equal ones are in the order of their names. */
export function sorter({ sort, down }, figuresOf) {
    const sign = down ? -1 : 1;
    const { of } = SORTS[sort];
    const byName = (a, b) => (a.name < b.name ? -1 : Number(a.name > b.name));
    return (a, b) => {
        const [left, right] = [of(a, figuresOf(a.id)), of(b, figuresOf(b.id))];
        return left === right ? byName(a, b) : left < right ? -sign : sign;
    };
}

/* [[value, how many], …], in the order of their values. */
export function countOf(vms, pick) {
    const counts = new Map();
    for (const vm of vms) {
        for (const value of pick(vm)) {
            counts.set(value, (counts.get(value) ?? 0) + 1);
        }
    }
    return [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
}
