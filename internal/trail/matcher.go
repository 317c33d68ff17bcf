package trail

import "spoor/internal/record"

// Matcher is Selectors made ready to be asked, for who records events besides
// trails. It does not change and may be shared.
type Matcher struct{ m *matcher }

// NewMatcher prepares s, which must be valid (see the cloudtrail package).
func NewMatcher(s Selectors) Matcher { return Matcher{compile(s)} }

// AnyData reports whether some data event is selected.
func (m Matcher) AnyData() bool { return m.m.anyData }

// Selects reports whether r is selected on its way into the journal.
func (m Matcher) Selects(r *record.Record) bool { return m.m.matches((*recordEvent)(r)) }

// SelectsEntry reports whether e, read from the journal, is selected.
func (m Matcher) SelectsEntry(e *record.Entry) bool {
	x := entryEvent{e: e}
	return m.m.matches(&x)
}
