package types

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// AppendJSON appends a wire value as JSON, in the forms of SELECT JSON (CQL,
// "JSON encoding of Cassandra data types"). nil is null.
func (t *Type) AppendJSON(dst, b []byte) []byte {
	if b == nil {
		return append(dst, "null"...)
	}
	switch t.Kind {
	case List, Set, Map, Tuple, UDT:
		return t.appendJSONParts(dst, b)
	case Bigint, Counter, Int, Smallint, Tinyint, Varint, Decimal, Boolean:
		if len(b) == 0 {
			return append(dst, `""`...)
		}
		return t.AppendText(dst, b)
	case Float, Double:
		text := t.AppendText(nil, b)
		if len(text) == 0 || strings.ContainsAny(string(text), "NI") {
			return append(append(append(dst, '"'), text...), '"')
		}
		return append(dst, text...)
	case Timestamp:
		text := strings.Replace(string(t.AppendText(nil, b)), "T", " ", 1)
		return appendJSONString(dst, text)
	}
	return appendJSONString(dst, string(t.AppendText(nil, b)))
}

func appendJSONString(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil { // a string always encodes
		return append(dst, `""`...)
	}
	return append(dst, bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})...)
}

func (t *Type) appendJSONParts(dst, b []byte) []byte {
	parts, err := t.Parts(b)
	if err != nil {
		return append(dst, "null"...)
	}
	brackets := "[]"
	if t.Kind == Map || t.Kind == UDT {
		brackets = "{}"
	}
	dst = append(dst, brackets[0])
	for i, p := range parts {
		switch {
		case t.Kind == Map && i%2 == 1:
			dst = append(dst, ": "...)
		case i > 0:
			dst = append(dst, ", "...)
		}
		if t.Kind == UDT {
			dst = append(AppendJSONName(dst, t.Fields[i]), ": "...)
		}
		if t.Kind == Map && i%2 == 0 {
			key := t.Args[0].AppendJSON(nil, p)
			if len(key) == 0 || key[0] != '"' {
				key = appendJSONString(nil, string(key))
			}
			dst = append(dst, key...)
			continue
		}
		dst = t.part(i).AppendJSON(dst, p)
	}
	return append(dst, brackets[1])
}

// AppendJSONName appends a column's or field's name as a JSON key: a name that
// is not all lower case keeps its double quotes inside.
func AppendJSONName(dst []byte, name string) []byte {
	if name != strings.ToLower(name) {
		name = `"` + name + `"`
	}
	return appendJSONString(dst, name)
}

// FromJSON makes a wire value from a JSON value, as INSERT … JSON and fromJson
// do. null gives nil. Strings are accepted for most scalars.
func (t *Type) FromJSON(raw json.RawMessage) ([]byte, error) {
	raw = bytes.TrimSpace(raw)
	if string(raw) == "null" {
		return nil, nil
	}
	if len(raw) == 0 {
		return nil, errors.New("empty JSON value")
	}
	switch t.Kind {
	case List, Set, Tuple:
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("Expected a list, but got a %s: %s", jsonKind(raw), raw)
		}
		if t.Kind == Tuple && len(list) > len(t.Args) {
			return nil, fmt.Errorf("Tuple contains extra items (expected %d): %s", len(t.Args), raw)
		}
		return t.fromJSONList(list)
	case Map, UDT:
		return t.fromJSONObject(raw)
	}
	if raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, fmt.Errorf("Could not decode JSON string: %s", raw)
		}
		return t.FromText(s)
	}
	switch {
	case t.IsText(), t.Kind == Blob, t.Kind == Uuid, t.Kind == Timeuuid, t.Kind == Inet, t.Kind == Date, t.Kind == Time, t.Kind == Duration:
		return nil, fmt.Errorf("Expected a string representation of a %s value, but got a %s: %s", t, jsonKind(raw), raw)
	case t.Kind == Boolean && raw[0] != 't' && raw[0] != 'f':
		return nil, fmt.Errorf("Expected a boolean value, but got a %s: %s", jsonKind(raw), raw)
	}
	return t.FromText(string(raw))
}

func jsonKind(raw []byte) string {
	switch raw[0] {
	case '"':
		return "String"
	case '{':
		return "Map"
	case '[':
		return "List"
	case 't', 'f':
		return "Boolean"
	}
	return "Number"
}

func (t *Type) fromJSONList(list []json.RawMessage) ([]byte, error) {
	parts := make([][]byte, len(list))
	for i, raw := range list {
		p, err := t.part(i).FromJSON(raw)
		if err != nil {
			return nil, err
		}
		if p == nil && t.IsCollection() {
			return nil, fmt.Errorf("Invalid null element in %s", t.Kind)
		}
		parts[i] = p
	}
	return t.Join(t.Normalize(parts)), nil
}

func (t *Type) fromJSONObject(raw json.RawMessage) ([]byte, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("Expected a map, but got a %s: %s", jsonKind(raw), raw)
	}
	if t.Kind == UDT {
		parts := make([][]byte, len(t.Args))
		for k, v := range m {
			i := t.FieldIndex(JSONName(k))
			if i < 0 {
				return nil, fmt.Errorf("Unknown field '%s' in value of user defined type %s", k, t.Name)
			}
			var err error
			if parts[i], err = t.Args[i].FromJSON(v); err != nil {
				return nil, err
			}
		}
		return t.Join(parts), nil
	}
	parts := make([][]byte, 0, 2*len(m))
	for k, v := range m {
		key, err := t.Args[0].fromJSONKey(k)
		if err != nil {
			return nil, err
		}
		val, err := t.Args[1].FromJSON(v)
		if err != nil {
			return nil, err
		}
		if key == nil || val == nil {
			return nil, errors.New("Invalid null value in map")
		}
		parts = append(parts, key, val)
	}
	return t.Join(t.Normalize(parts)), nil
}

// fromJSONKey reads a map's key: a scalar's text, or JSON within the string.
func (t *Type) fromJSONKey(k string) ([]byte, error) {
	if len(t.Args) > 0 {
		return t.FromJSON(json.RawMessage(k))
	}
	return t.FromText(k)
}

// JSONName gives the name that a JSON key means: quoted inside, as it is; else
// lower case.
func JSONName(key string) string {
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		return key[1 : len(key)-1]
	}
	return strings.ToLower(key)
}
