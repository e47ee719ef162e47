"""Is a history of concurrent calls one that the model could have had, one call after the other?

Wing and Gong's search in Lowe's form: the events are gone through in the order of time, with the set of all
configurations that may be (a state of the model, and which of the open calls have had their effect). When
a call returns, those remain in which its effect was, somewhere between its beginning and its end, one that
goes with its answer. Without any left the history is not linearizable, and that call is where it shows.

A model has `step(state, call)`, all states after the call that go with its answer (any, when the answer is
not known), and `silent(state)`, those that the state may become by itself. Both are remembered.

What changes nothing (a read, a refusal) is taken for done in the first state that goes with its answer:
whatever may follow without it may follow with it. That is most of a history, and most of the search.
"""
MOST = 60_000  # configurations in one step; more is a history that is too long, not one that is wrong


class Call:
    """answer is None when it is not known: the effect was between begin and end, or is not."""

    def __init__(self, begin, end, request, answer):
        self.begin, self.end, self.request, self.answer = begin, end, request, answer

    def __repr__(self):
        return f"[{self.begin:.6f} {self.end:.6f}] {self.request} -> {self.answer}"


class Wrong:
    """Where it shows: the call whose answer nothing explains, the states before it, what was open beside it."""

    def __init__(self, call, states, beside, before):
        self.call, self.states, self.beside, self.before = call, states, beside, before

    def __str__(self):
        lines = [f"no order explains {self.call}", "the model may have been in:"]
        lines += [f"  {s}" for s in self.states[:6]] + ["open beside it:"] + [f"  {c}" for c in self.beside]
        return "\n".join(lines + ["before it:"] + [f"  {c}" for c in self.before[-14:]])


class Search:
    def __init__(self, calls, model):
        self.calls, self.model, self.largest = calls, model, 0
        self.steps, self.silents = {}, {}

    def _silent(self, state):
        found = self.silents.get(state)
        if found is None:
            found = self.silents[state] = tuple(self.model.silent(state))
        return found

    def _step(self, state, i):
        found = self.steps.get((state, i))
        if found is None:
            found = self.steps[state, i] = tuple(self.model.step(state, self.calls[i]))
        return found

    def _with_reads(self, state, done, still_open):
        """The same, with all open calls done that change nothing here."""
        more = [j for j in still_open if j not in done and self.calls[j].answer is not None
                and self._step(state, j) == (state,)]
        return state, done.union(more) if more else done

    def _returned(self, configurations, still_open, i):
        """Those in which call i has had its effect, without it."""
        seen = {self._with_reads(s, d, still_open) for s, d in configurations}
        stack, kept = list(seen), set()
        unknown = self.calls[i].answer is None
        while stack:
            state, done = stack.pop()
            if i in done or unknown:
                kept.add((state, done - {i}))
                if not unknown:
                    continue
            after = [(s, done) for s in self._silent(state)]
            for j in still_open:
                if j not in done:
                    more = done | {j}
                    after += [(s, more) for s in self._step(state, j)]
            for s, d in after:
                configuration = self._with_reads(s, d, still_open)
                if configuration not in seen:
                    seen.add(configuration)
                    stack.append(configuration)
            if len(seen) > MOST:
                raise OverflowError(f"more than {MOST} configurations at {self.calls[i]}")
        self.largest = max(self.largest, len(seen))
        return kept

    def run(self):
        """None, or what is Wrong."""
        events = sorted([(c.begin, 0, i) for i, c in enumerate(self.calls)] +
                        [(c.end, 1, i) for i, c in enumerate(self.calls)])
        configurations, still_open, returned = {(self.model.initial, frozenset())}, set(), []
        for _, is_end, i in events:
            if not is_end:
                still_open.add(i)
                continue
            kept = self._returned(configurations, still_open, i)
            if not kept:
                return Wrong(self.calls[i], sorted({str(s) for s, _ in configurations}),
                             [self.calls[j] for j in still_open if j != i], returned)
            configurations = kept
            still_open.discard(i)
            returned.append(self.calls[i])
            # What was remembered of a call that is over is of no use any more.
            if len(self.steps) > 200_000:
                self.steps.clear()
        return None


def check(calls, model):
    return Search(calls, model).run()


def torn(views):
    """Two views of the same things, {thing: how far it was}, of which neither is the earlier one; or None.

    What has a place of its own in the order of time (one look at everything) can be put in a row with all others.
    """
    for i, one in enumerate(views):
        for other in views[:i]:
            both = one.keys() & other.keys()
            if any(one[k] < other[k] for k in both) and any(one[k] > other[k] for k in both):
                return {k: (one[k], other[k]) for k in both if one[k] != other[k]}
    return None
