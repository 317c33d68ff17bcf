package serde

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"spoor/internal/athena/sql"
	"spoor/internal/engine/duckdb"
)

// stringified are the members that CloudTrailInputFormat gives as JSON text.
var stringified = map[string]bool{"requestparameters": true, "responseelements": true, "additionaleventdata": true, "serviceeventdetails": true}

// identityText is a column that CloudTrailInputFormat adds: userIdentity as
// text, beside the struct.
const identityText = "useridentity_as_string"

// cloudTrail reads {"Records":[…]}: each element is a row, whose members are
// found whatever their case. A file that is no such document is skipped, as
// AWS's input format does; so rows are emitted only when all of it has been
// checked.
func (rd *Reader) cloudTrail(ctx context.Context, r io.Reader, emit func([]any) error) error {
	raw, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || len(raw) > maxDocument {
		return nil
	}
	wanted := names{}
	identity := -1
	for i, c := range rd.columns {
		if c.Name == identityText {
			identity = i
			continue
		}
		wanted[c.Name] = i
	}
	fields, n, err := records(raw, wanted, len(rd.columns), identity)
	if err != nil {
		return nil
	}
	row := make([]any, len(rd.columns))
	for k := range n {
		for i, c := range rd.columns {
			v := fields[k*len(row)+i]
			switch {
			case v == nil || isNull(v):
				row[i] = nil
			case i == identity || stringified[c.Name]:
				row[i] = compact(v)
			default:
				if row[i], err = fromJSON(v, c.Type, cloudTrailJSON); err != nil {
					return fmt.Errorf("HIVE_BAD_DATA: Error parsing column %s: %w", c.Name, err)
				}
			}
		}
		if err := emit(row); err != nil {
			return err
		}
	}
	return nil
}

// records walks a CloudTrail document once and keeps, for each of its n
// records, the text of the wanted members; nil for one that a record lacks.
func records(raw []byte, wanted names, width, identity int) (fields [][]byte, n int, err error) {
	s := &scanner{data: raw}
	user, wantsUser := wanted["useridentity"]
	record := func() error {
		if s.byte() != '{' {
			return errJSON
		}
		fields = append(fields, make([][]byte, width)...)
		at := fields[n*width:]
		n++
		return s.members(func(key []byte) error {
			v, err := s.value()
			if err != nil {
				return err
			}
			if identity >= 0 && len(key) == len("userIdentity") && strings.EqualFold(string(key), "userIdentity") {
				at[identity] = v
				if wantsUser {
					at[user] = v
				}
			} else if i, ok := wanted.find(key, true); ok {
				at[i] = v
			}
			return nil
		})
	}
	if s.byte() != '{' {
		return nil, 0, errJSON
	}
	err = s.members(func(key []byte) error {
		if string(key) != "Records" {
			_, err := s.value()
			return err
		}
		if s.byte() != '[' {
			return errJSON
		}
		return s.elements(record)
	})
	if err == nil && !s.end() {
		err = errJSON
	}
	return fields, n, err
}

// dialect is what the readers of JSON differ in.
type dialect struct {
	text    bool // an object or array in a text column is its JSON text; else an error
	lenient bool // a scalar in an array column is its only element, and what does not parse is NULL
}

var (
	cloudTrailJSON = dialect{text: true}
	hiveJSON       = dialect{}
	openXJSON      = dialect{text: true, lenient: true}
)

// jsonLines reads one document a line.
func (rd *Reader) jsonLines(r io.Reader, emit func([]any) error) error {
	property := func(name string) bool { return strings.EqualFold(rd.table.SerdeParams[name], "true") }
	d := hiveJSON
	fold, dots, ignore := true, false, false
	if rd.table.Serde == OpenX {
		d = openXJSON
		fold = !strings.EqualFold(rd.table.SerdeParams["case.insensitive"], "false")
		dots, ignore = property("dots.in.keys"), property("ignore.malformed.json")
	}
	wanted := names{}
	for i, c := range rd.columns {
		name := c.Name
		if m := rd.table.SerdeParams["mapping."+c.Name]; m != "" && rd.table.Serde == OpenX {
			name = m
		}
		if fold {
			name = strings.ToLower(name)
		}
		wanted[name] = i
	}
	row, fields := make([]any, len(rd.columns)), make([][]byte, len(rd.columns))
	return lines(r, func(line []byte) error {
		s := &scanner{data: line}
		if s.end() {
			return nil
		}
		clear(fields)
		clear(row)
		if err := members(s, wanted, fold, dots, fields); err != nil {
			if ignore {
				return emit(row)
			}
			return errors.New("HIVE_CURSOR_ERROR: Row is not a valid JSON Object")
		}
		for i, c := range rd.columns {
			if fields[i] == nil {
				continue
			}
			v, err := fromJSON(fields[i], c.Type, d)
			if err != nil && !d.lenient {
				return fmt.Errorf("HIVE_BAD_DATA: Error parsing column %s: %w", c.Name, err)
			}
			if err == nil {
				row[i] = v
			}
		}
		return emit(row)
	})
}

// members keeps the text of the wanted members of a line's object.
func members(s *scanner, wanted names, fold, dots bool, fields [][]byte) error {
	if s.byte() != '{' {
		return errJSON
	}
	err := s.members(func(key []byte) error {
		v, err := s.value()
		if err != nil {
			return err
		}
		if dots {
			key = []byte(strings.ReplaceAll(string(key), ".", "_"))
		}
		if i, ok := wanted.find(key, fold); ok {
			fields[i] = v
		}
		return nil
	})
	if err == nil && !s.end() {
		return errJSON
	}
	return err
}

// fromJSON turns a JSON value, which has been checked, into the Go value of a
// column's type.
func fromJSON(v []byte, t sql.Type, d dialect) (any, error) {
	if isNull(v) {
		return nil, nil
	}
	switch t.Name {
	case "array":
		return jsonArray(v, t, d)
	case "map":
		return jsonMap(v, t, d)
	case "row":
		return jsonRow(v, t, d)
	}
	if v[0] == '"' {
		return fromText(unquote(v[1:len(v)-1]), t)
	}
	if v[0] == '{' || v[0] == '[' {
		if t.Name != "varchar" || !d.text {
			return nil, fmt.Errorf("expected a %s, got %.40s", t, v)
		}
		return compact(v), nil
	}
	return fromText(string(v), t)
}

func jsonArray(v []byte, t sql.Type, d dialect) (any, error) {
	out := []any{}
	ok, err := array(v, func(e []byte) error {
		x, err := fromJSON(e, t.Elems[0], d)
		out = append(out, x)
		return err
	})
	if ok || err != nil {
		return out, err
	}
	if !d.lenient {
		return nil, fmt.Errorf("expected an array, got %.40s", v)
	}
	x, err := fromJSON(v, t.Elems[0], d)
	return []any{x}, err
}

func jsonMap(v []byte, t sql.Type, d dialect) (any, error) {
	out := duckdb.Map{}
	ok, err := object(v, func(key, value []byte) error {
		k, err := mapKey(unquote(key), t.Elems[0])
		if err != nil {
			return err
		}
		out[k], err = fromJSON(value, t.Elems[1], d)
		return err
	})
	if !ok && err == nil {
		err = fmt.Errorf("expected an object, got %.40s", v)
	}
	return out, err
}

func jsonRow(v []byte, t sql.Type, d dialect) (any, error) {
	out := make(map[string]any, len(t.Fields))
	for _, f := range t.Fields {
		out[f] = nil
	}
	ok, err := object(v, func(key, value []byte) error {
		for i, f := range t.Fields {
			if len(f) != len(key) || !strings.EqualFold(f, string(key)) {
				continue
			}
			x, err := fromJSON(value, t.Elems[i], d)
			if err != nil && d.lenient {
				return nil
			}
			out[f] = x
			return err
		}
		return nil
	})
	if !ok && err == nil {
		err = fmt.Errorf("expected an object, got %.40s", v)
	}
	return out, err
}
