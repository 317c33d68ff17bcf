package serde

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// errJSON is text that is no JSON (RFC 8259).
var errJSON = errors.New("not valid JSON")

// maxJSONDepth bounds nesting, as a document's stack does on the Java side
// (Jackson's StreamReadConstraints allows 1000).
const maxJSONDepth = 1000

// scanner walks JSON text without decoding it: most members of a record are
// not wanted, and those that are stay slices of the text until their column's
// type is known. Everything it passes is checked against the grammar.
type scanner struct {
	data []byte
	pos  int
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// byte takes the next byte after white space, 0 at the end.
func (s *scanner) byte() byte {
	s.space()
	if s.pos == len(s.data) {
		return 0
	}
	s.pos++
	return s.data[s.pos-1]
}

// end reports whether only white space is left.
func (s *scanner) end() bool {
	s.space()
	return s.pos == len(s.data)
}

// value passes one value and gives its text.
func (s *scanner) value() ([]byte, error) {
	s.space()
	start := s.pos
	if err := s.pass(0); err != nil {
		return nil, err
	}
	return s.data[start:s.pos], nil
}

func (s *scanner) pass(depth int) error {
	if depth > maxJSONDepth {
		return errJSON
	}
	switch c := s.byte(); c {
	case '"':
		return s.passString()
	case '{':
		return s.members(func([]byte) error { return s.pass(depth + 1) })
	case '[':
		return s.elements(func() error { return s.pass(depth + 1) })
	case 't':
		return s.word("rue")
	case 'f':
		return s.word("alse")
	case 'n':
		return s.word("ull")
	case 0:
		return errJSON
	default:
		s.pos--
		return s.number()
	}
}

func (s *scanner) word(rest string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(rest)) {
		return errJSON
	}
	s.pos += len(rest)
	return nil
}

// plain are the bytes of a string that need no look: all but quotes,
// backslashes and control characters.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return t
}()

// passString passes a string whose opening quote has been taken.
func (s *scanner) passString() error {
	d := s.data
	for i := s.pos; i < len(d); i++ {
		if plain[d[i]] {
			continue
		}
		switch c := d[i]; {
		case c == '"':
			s.pos = i + 1
			return nil
		case c == '\\':
			i++
			if i == len(d) {
				return errJSON
			}
			switch d[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if i+4 >= len(d) {
					return errJSON
				}
				for _, h := range d[i+1 : i+5] {
					if !(h >= '0' && h <= '9' || h|0x20 >= 'a' && h|0x20 <= 'f') {
						return errJSON
					}
				}
				i += 4
			default:
				return errJSON
			}
		case c < 0x20:
			return errJSON
		}
	}
	return errJSON
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) is(set string) bool {
	if s.pos < len(s.data) && bytes.IndexByte([]byte(set), s.data[s.pos]) >= 0 {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) number() error {
	s.is("-")
	if !s.is("0") && !s.digits() {
		return errJSON
	}
	if s.is(".") && !s.digits() {
		return errJSON
	}
	if s.is("eE") {
		s.is("+-")
		if !s.digits() {
			return errJSON
		}
	}
	return nil
}

// members calls fn with each key's text between its quotes, for an object whose
// opening brace has been taken. fn passes the value.
func (s *scanner) members(fn func(key []byte) error) error {
	s.space()
	if s.is("}") {
		return nil
	}
	for {
		if s.byte() != '"' {
			return errJSON
		}
		start := s.pos
		if err := s.passString(); err != nil {
			return err
		}
		key := s.data[start : s.pos-1]
		if s.byte() != ':' {
			return errJSON
		}
		if err := fn(key); err != nil {
			return err
		}
		switch s.byte() {
		case ',':
		case '}':
			return nil
		default:
			return errJSON
		}
	}
}

// elements calls fn at each element, for an array whose opening bracket has
// been taken. fn passes the element.
func (s *scanner) elements(fn func() error) error {
	s.space()
	if s.is("]") {
		return nil
	}
	for {
		if err := fn(); err != nil {
			return err
		}
		switch s.byte() {
		case ',':
		case ']':
			return nil
		default:
			return errJSON
		}
	}
}

// object walks the members of a value that is an object; ok is false for any
// other value. The value must have been passed before.
func object(v []byte, fn func(key, value []byte) error) (ok bool, err error) {
	s := &scanner{data: v}
	if s.byte() != '{' {
		return false, nil
	}
	return true, s.members(func(key []byte) error {
		value, err := s.value()
		if err != nil {
			return err
		}
		return fn(key, value)
	})
}

// array walks the elements of a value that is an array.
func array(v []byte, fn func(value []byte) error) (ok bool, err error) {
	s := &scanner{data: v}
	if s.byte() != '[' {
		return false, nil
	}
	return true, s.elements(func() error {
		value, err := s.value()
		if err != nil {
			return err
		}
		return fn(value)
	})
}

// unquote gives the text of a string between its quotes. What is not UTF-8
// becomes U+FFFD: the engine takes only UTF-8.
func unquote(inner []byte) string {
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	quoted := append(append(append(make([]byte, 0, len(inner)+2), '"'), inner...), '"')
	var out string
	if json.Unmarshal(quoted, &out) != nil { // it has been passed: it is a string
		return string(bytes.ToValidUTF8(inner, []byte("\uFFFD")))
	}
	return out
}

// compact gives a value's text without the white space between its tokens.
func compact(v []byte) string {
	if !bytes.ContainsAny(v, " \t\n\r") && utf8.Valid(v) {
		return string(v)
	}
	out := make([]byte, 0, len(v))
	inside := false
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case inside && c == '\\' && i+1 < len(v):
			out = append(out, c)
			i++
			c = v[i]
		case c == '"':
			inside = !inside
		case !inside && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			continue
		}
		out = append(out, c)
	}
	if !utf8.Valid(out) {
		out = bytes.ToValidUTF8(out, []byte("\uFFFD"))
	}
	return string(out)
}

func isNull(v []byte) bool { return len(v) == 4 && v[0] == 'n' }

// names finds members by name in lower case.
type names map[string]int

// find folds a key's case without allocating for keys in ASCII.
func (n names) find(key []byte, fold bool) (int, bool) {
	var buf [64]byte
	if len(key) > len(buf) || bytes.IndexByte(key, '\\') >= 0 {
		text := []byte(unquote(key))
		if fold {
			text = bytes.ToLower(text)
		}
		i, ok := n[string(text)]
		return i, ok
	}
	if !fold {
		i, ok := n[string(key)]
		return i, ok
	}
	for i, c := range key {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	i, ok := n[string(buf[:len(key)])]
	return i, ok
}
