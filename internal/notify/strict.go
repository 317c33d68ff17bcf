package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// DecodeStrict reads one JSON value into v, a pointer. Members that v's type
// does not have, members given twice and anything behind the value are errors,
// each with the line and the path of what is wrong. Member names count as they
// are written, case included. path is the value's own place, "" for a whole
// file; a json.RawMessage takes any value.
func DecodeStrict(data []byte, v any, path string) error {
	w := walker{data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	w.dec.UseNumber()
	if err := w.value(reflect.TypeOf(v).Elem(), path, 0); err != nil {
		return err
	}
	if _, err := w.dec.Token(); !errors.Is(err, io.EOF) {
		return w.fault(path, "something follows the value")
	}
	err := json.Unmarshal(data, v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		w.at = wrong.Offset
		return w.fault(join(path, wrong.Field), "a JSON "+wrong.Value+" does not stand for "+kindName(wrong.Type))
	}
	return err
}

// maxNesting bounds the objects and lists within each other. Nothing that is
// declared comes near it, and each level costs memory.
const maxNesting = 1000

type walker struct {
	data []byte
	dec  *json.Decoder
	at   int64 // where a fault is; 0 for where dec stands
}

// fault names a place. Columns are not given: lines are enough to find a member.
func (w *walker) fault(path, what string) error {
	at := w.at
	if at == 0 {
		at = w.dec.InputOffset()
	}
	line := 1 + bytes.Count(w.data[:min(int(at), len(w.data))], []byte("\n"))
	if path == "" {
		return fmt.Errorf("line %d: %s", line, what)
	}
	return fmt.Errorf("line %d: %s: %s", line, path, what)
}

func (w *walker) token(path string) (json.Token, error) {
	t, err := w.dec.Token()
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		w.at = max(syntax.Offset, 1)
		return nil, w.fault(path, syntax.Error())
	case err != nil:
		w.at = int64(len(w.data))
		return nil, w.fault(path, "the file ends too early")
	}
	return t, nil
}

// value walks over a value that is to go into a t; nil takes anything.
func (w *walker) value(t reflect.Type, path string, depth int) error {
	if depth > maxNesting {
		return w.fault("", "the values are nested too deeply")
	}
	tok, err := w.token(path)
	if err != nil {
		return err
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[json.RawMessage]() || t != nil && reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		t = nil
	}
	switch tok {
	case json.Delim('{'):
		return w.object(t, path, depth)
	case json.Delim('['):
		var elem reflect.Type
		if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			elem = t.Elem()
		}
		for i := 0; w.dec.More(); i++ {
			if err := w.value(elem, fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
				return err
			}
		}
		_, err = w.token(path)
	}
	return err
}

func (w *walker) object(t reflect.Type, path string, depth int) error {
	seen := map[string]bool{}
	for w.dec.More() {
		tok, err := w.token(path)
		if err != nil {
			return err
		}
		name, _ := tok.(string) // the decoder takes nothing else for a name
		if seen[name] {
			return w.fault(join(path, name), "it is given twice")
		}
		seen[name] = true
		var member reflect.Type
		switch {
		case t == nil:
		case t.Kind() == reflect.Map:
			member = t.Elem()
		case t.Kind() == reflect.Struct:
			if member = memberType(t, name); member == nil {
				return w.fault(join(path, name), "there is no such setting; there are "+strings.Join(memberNames(t), ", "))
			}
		}
		if err := w.value(member, join(path, name), depth+1); err != nil {
			return err
		}
	}
	_, err := w.token(path)
	return err
}

func join(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

func memberType(t reflect.Type, name string) reflect.Type {
	for f := range t.Fields() {
		if tagName(f) == name {
			return f.Type
		}
	}
	return nil
}

func memberNames(t reflect.Type) []string {
	var out []string
	for f := range t.Fields() {
		if n := tagName(f); n != "" {
			out = append(out, n)
		}
	}
	return out
}

func tagName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" || !f.IsExported() {
		return ""
	}
	return name
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a number"
}
