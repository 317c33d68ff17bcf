package parser

import (
	"strings"

	"spoor/internal/cql/ast"
)

type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokBad           // what no token can be; lexer.bad says why
	tokIdent
	tokQuotedIdent
	tokString
	tokInteger
	tokFloat
	tokUUID
	tokBlob
	tokDuration
	tokRange // ..
	tokNe    // !=
	tokLe    // <=
	tokGe    // >=
	tokPunct // one byte; token.punct
)

// token is a piece of the source, without its value: most tokens are looked at
// once and thrown away.
type token struct {
	start, end int32
	line       int32 // from 1
	lineStart  int32 // offset of the line's first byte
	kind       tokenKind
	kw         keyword
	punct      byte
	escaped    bool // the text holds a doubled quote
}

func (t *token) pos() ast.Pos {
	return ast.Pos{Offset: t.start, Line: t.line, Col: t.start - t.lineStart}
}

type lexer struct {
	src       string
	off       int
	line      int
	lineStart int
	bad       string // why the last token is tokBad
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isWord(c byte) bool   { return isLetter(c) || isDigit(c) || c == '_' }
func isHex(c byte) bool    { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

// at gives the byte at offset i, 0 beyond the end.
func (l *lexer) at(i int) byte {
	if i < len(l.src) {
		return l.src[i]
	}
	return 0
}

// tokenize appends src's tokens to toks, ending with tokEOF. After a tokBad only
// tokEOF follows; bad says what was wrong. It stops with ok false after max
// tokens.
func tokenize(src string, toks []token, max int) (_ []token, bad string, ok bool) {
	l := lexer{src: src, line: 1}
	for {
		t := l.next()
		if len(toks) == max {
			return toks, "", false
		}
		toks = append(toks, t)
		switch t.kind {
		case tokEOF:
			return toks, l.bad, true
		case tokBad:
			l.off = len(src)
		}
	}
}

func (l *lexer) newline(at int) {
	l.line++
	l.lineStart = at + 1
}

// skip passes over blanks and comments. It reports false at a comment that does
// not end.
func (l *lexer) skip() bool {
	for l.off < len(l.src) {
		switch c := l.src[l.off]; {
		case c == '\n':
			l.newline(l.off)
			l.off++
		case c == ' ' || c == '\t' || c == '\r':
			l.off++
		case c == '-' && l.at(l.off+1) == '-', c == '/' && l.at(l.off+1) == '/':
			n := strings.IndexByte(l.src[l.off:], '\n')
			if n < 0 {
				l.off = len(l.src)
				return true
			}
			l.off += n
		case c == '/' && l.at(l.off+1) == '*':
			n := strings.Index(l.src[l.off+2:], "*/")
			if n < 0 {
				return false
			}
			end := l.off + 2 + n + 2
			l.countLines(l.off, end)
			l.off = end
		default:
			return true
		}
	}
	return true
}

func (l *lexer) countLines(from, to int) {
	for i := from; i < to; i++ {
		if l.src[i] == '\n' {
			l.newline(i)
		}
	}
}

func (l *lexer) next() token {
	closed := l.skip()
	t := token{start: int32(l.off), line: int32(l.line), lineStart: int32(l.lineStart)}
	switch {
	case !closed:
		t.kind, l.bad = tokBad, "mismatched character '<EOF>' expecting '*'"
		l.off = len(l.src)
	case l.off >= len(l.src):
		t.kind = tokEOF
	default:
		l.scan(&t)
	}
	t.end = int32(l.off)
	return t
}

func (l *lexer) scan(t *token) {
	c := l.src[l.off]
	switch {
	case isLetter(c):
		l.word(t)
	case isDigit(c):
		l.number(t)
	case c == '\'':
		l.quoted(t, tokString, '\'')
	case c == '"':
		l.quoted(t, tokQuotedIdent, '"')
		if t.kind == tokQuotedIdent && l.off-int(t.start) == 2 {
			t.kind, l.bad = tokBad, `mismatched character '"' expecting set null`
		}
	case c == '$' && l.at(l.off+1) == '$':
		l.dollars(t)
	default:
		l.punctuation(t, c)
	}
}

func (l *lexer) punctuation(t *token, c byte) {
	next := l.at(l.off + 1)
	l.off++
	switch {
	case c == '!' && next == '=':
		t.kind = tokNe
	case c == '<' && next == '=':
		t.kind = tokLe
	case c == '>' && next == '=':
		t.kind = tokGe
	case c == '.' && next == '.':
		t.kind = tokRange
	case strings.IndexByte("(){}[]<>,;:.?=+-*/%", c) >= 0:
		t.kind, t.punct = tokPunct, c
		return
	default:
		t.kind, l.bad = tokBad, "no viable alternative at character '"+string(rune(c))+"'"
		if c >= 0x80 || c < 0x20 {
			l.bad = "no viable alternative at character"
		}
		return
	}
	l.off++
}

// word scans an identifier, a keyword, or a constant that begins with a letter.
func (l *lexer) word(t *token) {
	if l.uuid() {
		t.kind = tokUUID
		return
	}
	if n := isoDateDuration(l.src[l.off:]); n > 0 {
		l.off += n
		t.kind = tokDuration
		return
	}
	i := l.off + 1
	for i < len(l.src) && isWord(l.src[i]) {
		i++
	}
	t.kind = tokIdent
	t.kw = lookup(l.src[l.off:i])
	l.off = i
}

func lookup(word string) keyword {
	if len(word) > maxKeyword {
		return kwNone
	}
	var buf [maxKeyword]byte
	for i := 0; i < len(word); i++ {
		c := word[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		buf[i] = c
	}
	return keywords[string(buf[:len(word)])]
}

// uuid passes over 8-4-4-4-12 hexadecimal digits.
func (l *lexer) uuid() bool {
	const length = 36
	if len(l.src)-l.off < length || l.src[l.off+8] != '-' {
		return false
	}
	for i := range length {
		c := l.src[l.off+i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !isHex(c) {
				return false
			}
		}
	}
	if isWord(l.at(l.off + length)) {
		return false
	}
	l.off += length
	return true
}

func (l *lexer) digits(i int) int {
	for i < len(l.src) && isDigit(l.src[i]) {
		i++
	}
	return i
}

func (l *lexer) number(t *token) {
	if l.uuid() {
		t.kind = tokUUID
		return
	}
	if l.src[l.off] == '0' && l.at(l.off+1)|0x20 == 'x' {
		i := l.off + 2
		for i < len(l.src) && isHex(l.src[i]) {
			i++
		}
		t.kind = tokBlob
		l.off = i
		return
	}
	if n := unitDuration(l.src[l.off:]); n > 0 {
		t.kind = tokDuration
		l.off += n
		return
	}
	t.kind = tokInteger
	i := l.digits(l.off)
	if l.at(i) == '.' && l.at(i+1) != '.' { // two dots are a slice's
		t.kind = tokFloat
		i = l.digits(i + 1)
	}
	if l.at(i)|0x20 == 'e' {
		e := i + 1
		if c := l.at(e); c == '+' || c == '-' {
			e++
		}
		if end := l.digits(e); end > e {
			t.kind = tokFloat
			i = end
		}
	}
	l.off = i
}

// quoted scans text between two quote bytes, in which two of them stand for one.
func (l *lexer) quoted(t *token, kind tokenKind, quote byte) {
	for i := l.off + 1; ; i++ {
		n := strings.IndexByte(l.src[i:], quote)
		if n < 0 {
			t.kind, l.bad = tokBad, "mismatched character '<EOF>' expecting '"+string(rune(quote))+"'"
			l.off = len(l.src)
			return
		}
		i += n
		if l.at(i+1) != quote {
			t.kind = kind
			l.countLines(l.off, i)
			l.off = i + 1
			return
		}
		t.escaped = true
		i++
	}
}

// dollars scans $$ text $$.
func (l *lexer) dollars(t *token) {
	n := strings.Index(l.src[l.off+2:], "$$")
	if n < 0 {
		t.kind, l.bad = tokBad, "mismatched character '<EOF>' expecting '$'"
		l.off = len(l.src)
		return
	}
	t.kind = tokString
	end := l.off + 2 + n + 2
	l.countLines(l.off, end)
	l.off = end
}

// lower is strings.ToLower for ASCII, without copying what is lower already.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}
