package serde

import "spoor/internal/athena/sql"

// Event reads single events, JSON objects whose members are found whatever
// their case, into rows. It holds no state and may be shared.
type Event struct {
	columns []sql.Column
	wanted  names
}

// NewEvent makes a reader of the columns.
func NewEvent(columns []sql.Column) *Event {
	e := &Event{columns: columns, wanted: names{}}
	for i, c := range columns {
		e.wanted[c.Name] = i
	}
	return e
}

// eventJSON: an object in a text column is its JSON text; what does not fit a
// column is NULL.
var eventJSON = dialect{text: true, lenient: true}

// Row fills row with the event's columns; a member that is missing or does not
// fit its column is NULL. It fails on what is no JSON object.
func (e *Event) Row(event []byte, row []any) error {
	fields := make([][]byte, len(e.columns))
	if err := members(&scanner{data: event}, e.wanted, true, false, fields); err != nil {
		return err
	}
	for i, c := range e.columns {
		row[i] = nil
		if fields[i] == nil {
			continue
		}
		if v, err := fromJSON(fields[i], c.Type, eventJSON); err == nil {
			row[i] = v
		}
	}
	return nil
}

// ReadableEvent reports whether an event, which may be anybody's, is one that
// Row reads: a JSON object that is not nested too deeply. One that is not must
// not be kept, as it would fail whoever reads it among others.
func ReadableEvent(event []byte) bool {
	s := &scanner{data: event}
	v, err := s.value()
	return err == nil && s.end() && v[0] == '{'
}
