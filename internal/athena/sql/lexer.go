// Package sql holds Athena's two grammars: Trino's queries and Hive's data
// definition, with the rewriting of queries to DuckDB's dialect. It is pure:
// the service gives it text and a catalogue, and gets back a statement to
// carry out or an error in Athena's words. It stands in the handle step of
// StartQueryExecution and of the query's execution.
//
// Grammar: Trino's SqlBase.g4 and the Athena user guide's SQL reference.
package sql

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a statement.
const (
	MaxText  = 262144 // bytes (Athena API reference, QueryString)
	maxDepth = 200    // nested expressions, queries and types
)

// SyntaxError is a text that does not parse. Error is Trino's message.
type SyntaxError struct {
	Line, Col int // from 1
	Message   string
	// redacted is Message without the part that is the statement's own text and
	// may hold its values; "" when there is none.
	redacted string
}

// Redacted is Error for a place that must not hold a statement's values.
func (e *SyntaxError) Redacted() string {
	return (&SyntaxError{Line: e.Line, Col: e.Col, Message: cmp.Or(e.redacted, e.Message)}).Error()
}

func (e *SyntaxError) Error() string {
	if strings.HasPrefix(e.Message, onlyOne) { // Trino tells no place
		return e.Message
	}
	return fmt.Sprintf("line %d:%d: %s", e.Line, e.Col, e.Message)
}

// UnsupportedError is a statement of a kind that Athena does not have.
type UnsupportedError struct{ Message string }

func (e *UnsupportedError) Error() string { return e.Message }

type tokenKind uint8

const (
	tEOF    tokenKind = iota
	tIdent            // a word, upper-cased in up
	tQuoted           // "name"
	tBack             // `name`
	tString           // 'text'
	tBinary           // X'00'
	tInteger
	tDecimal
	tDouble
	tOp
	tParam
)

type token struct {
	kind      tokenKind
	text      string // decoded: names and strings without quotes
	up        string // upper-case form of a word
	line, col int
	end       int // offset after the token
	start     int
}

// lex splits a text into tokens; comments are skipped.
func lex(src string) ([]token, error) {
	if len(src) > MaxText {
		return nil, &SyntaxError{Line: 1, Col: 1, Message: fmt.Sprintf("the query is longer than %d bytes", MaxText)}
	}
	l := lexer{src: src, line: 1, col: 1}
	var out []token
	for {
		if err := l.skip(); err != nil {
			return nil, err
		}
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		out = append(out, t)
		if t.kind == tEOF {
			return out, nil
		}
	}
}

type lexer struct {
	src       string
	pos       int
	line, col int
}

func (l *lexer) fail(format string, args ...any) error {
	return &SyntaxError{Line: l.line, Col: l.col, Message: fmt.Sprintf(format, args...)}
}

func (l *lexer) advance(n int) {
	for i := 0; i < n; {
		if l.src[l.pos+i] == '\n' {
			l.line++
			l.col = 1
			i++
			continue
		}
		_, size := utf8.DecodeRuneInString(l.src[l.pos+i:])
		l.col++
		i += size
	}
	l.pos += n
}

func (l *lexer) skip() error {
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		switch {
		case strings.ContainsRune(" \t\r\n\f\v\u00a0", rune(rest[0])):
			l.advance(1)
		case strings.HasPrefix(rest, "--"):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			l.advance(n)
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				return l.fail("mismatched input '/*'. Expecting: <statement>")
			}
			l.advance(n + 4)
		default:
			return nil
		}
	}
	return nil
}

func isLetter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

var operators = []string{"<>", "!=", "<=", ">=", "||", "->", "=>", "(", ")", "[", "]", "{", "}", ",", ".", ";", "+", "-", "*", "/", "%", "=", "<", ">", ":", "|", "^", "$"}

func (l *lexer) next() (token, error) {
	t := token{line: l.line, col: l.col, start: l.pos}
	done := func(n int) token {
		l.advance(n)
		t.end = l.pos
		return t
	}
	if l.pos >= len(l.src) {
		t.end = l.pos
		return t, nil
	}
	rest := l.src[l.pos:]
	c := rest[0]
	switch {
	case (c == 'x' || c == 'X') && len(rest) > 1 && rest[1] == '\'':
		text, n, ok := quoted(rest[1:], '\'')
		if !ok {
			return t, l.fail("mismatched input '%s'", rest[:1])
		}
		t.kind, t.text = tBinary, text
		return done(n + 1), nil
	case isLetter(c):
		n := 1
		for n < len(rest) && (isLetter(rest[n]) || isDigit(rest[n])) {
			n++
		}
		t.kind, t.text, t.up = tIdent, rest[:n], strings.ToUpper(rest[:n])
		return done(n), nil
	case isDigit(c) || c == '.' && len(rest) > 1 && isDigit(rest[1]):
		n, kind := number(rest)
		t.kind, t.text = kind, rest[:n]
		return done(n), nil
	case c == '\'' || c == '"' || c == '`':
		text, n, ok := quoted(rest, c)
		if !ok {
			return t, l.fail("mismatched input '%c'", c)
		}
		t.kind, t.text = map[byte]tokenKind{'\'': tString, '"': tQuoted, '`': tBack}[c], text
		return done(n), nil
	case c == '?':
		t.kind, t.text = tParam, "?"
		return done(1), nil
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			t.kind, t.text = tOp, op
			return done(len(op)), nil
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	return t, l.fail("mismatched input '%c'", r)
}

// quoted reads a quoted text; a doubled quote is the quote.
func quoted(s string, q byte) (text string, n int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != q {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == q {
			b.WriteByte(q)
			i++
			continue
		}
		return b.String(), i + 1, true
	}
	return "", 0, false
}

func number(s string) (int, tokenKind) {
	n, kind := 0, tInteger
	for n < len(s) && (isDigit(s[n]) || s[n] == '_') {
		n++
	}
	if n < len(s) && s[n] == '.' && !(n+1 < len(s) && isLetter(s[n+1]) && s[n+1] != 'e' && s[n+1] != 'E') {
		kind = tDecimal
		n++
		for n < len(s) && isDigit(s[n]) {
			n++
		}
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		m := n + 1
		if m < len(s) && (s[m] == '+' || s[m] == '-') {
			m++
		}
		if m < len(s) && isDigit(s[m]) {
			for m < len(s) && isDigit(s[m]) {
				m++
			}
			return m, tDouble
		}
	}
	return n, kind
}
