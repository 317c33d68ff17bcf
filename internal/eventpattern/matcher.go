package eventpattern

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind uint8

const (
	kindString kind = iota
	kindNumber
	kindLiteral // true, false, null
)

// leaf is a scalar of an event, with the elements of arrays it stands in.
type leaf struct {
	kind kind
	text string // a string decoded, else as it stands
	in   *member

	parsed bool // number and comparable are set
	number float64
	exact  bool
}

func (l *leaf) value() (float64, bool) {
	if !l.parsed {
		l.parsed = true
		l.number, l.exact = comparable64(l.text)
	}
	return l.number, l.exact
}

// matcher is one value or operator of a pattern's list.
type matcher interface {
	match(l *leaf) bool
}

func anyMatches(ms []matcher, l *leaf) bool {
	for _, m := range ms {
		if m.match(l) {
			return true
		}
	}
	return false
}

// exact is the string itself, or the same address in another form.
func exact(s string) matcher {
	if a, ok := parseIP(s); ok {
		return address(a)
	}
	return exactText(s)
}

type exactText string

func (m exactText) match(l *leaf) bool { return l.kind == kindString && l.text == string(m) }

type address netip.Addr

func (m address) match(l *leaf) bool {
	if l.kind != kindString {
		return false
	}
	a, ok := parseIP(l.text)
	return ok && a == netip.Addr(m)
}

type block netip.Prefix

func (m block) match(l *leaf) bool {
	if l.kind != kindString {
		return false
	}
	a, ok := parseIP(l.text)
	return ok && netip.Prefix(m).Contains(a)
}

type literal string

func (m literal) match(l *leaf) bool { return l.kind == kindLiteral && l.text == string(m) }

// literalNumber is a number in a list of values: equal by value, or, where it
// has more digits than can be compared, by its text.
type literalNumber struct {
	text       string
	number     float64
	comparable bool
}

func (m literalNumber) match(l *leaf) bool {
	if l.kind != kindNumber {
		return false
	}
	if m.text == l.text {
		return true
	}
	n, ok := l.value()
	return ok && m.comparable && n == m.number
}

type numberRange struct {
	low, high         float64
	openLow, openHigh bool
}

func (m numberRange) match(l *leaf) bool {
	if l.kind != kindNumber {
		return false
	}
	n, ok := l.value()
	return ok && (n > m.low || !m.openLow && n == m.low) && (n < m.high || !m.openHigh && n == m.high)
}

type present struct{}

func (present) match(*leaf) bool { return true }

// anythingBut holds for every leaf, of any type, that none of its members does.
type anythingBut []matcher

func (m anythingBut) match(l *leaf) bool { return !anyMatches(m, l) }

// affix is a prefix or a suffix.
type affix struct {
	text         string
	suffix, fold bool
}

func (m affix) match(l *leaf) bool {
	if l.kind != kindString {
		return false
	}
	switch {
	case m.fold && m.suffix:
		return foldSuffix(l.text, m.text)
	case m.fold:
		_, ok := foldPrefix(l.text, m.text)
		return ok
	case m.suffix:
		return strings.HasSuffix(l.text, m.text)
	}
	return strings.HasPrefix(l.text, m.text)
}

type folded string

func (m folded) match(l *leaf) bool {
	if l.kind != kindString {
		return false
	}
	n, ok := foldPrefix(l.text, string(m))
	return ok && n == len(l.text)
}

// foldPrefix compares a rune of the pattern with itself, its lower and its upper
// case; n is how much of s the prefix took.
func foldPrefix(s, prefix string) (n int, ok bool) {
	for _, want := range prefix {
		got, size := utf8.DecodeRuneInString(s[n:])
		if size == 0 || !foldEqual(got, want) {
			return 0, false
		}
		n += size
	}
	return n, true
}

func foldSuffix(s, suffix string) bool {
	for len(suffix) > 0 {
		want, n := utf8.DecodeLastRuneInString(suffix)
		got, size := utf8.DecodeLastRuneInString(s)
		if size == 0 || !foldEqual(got, want) {
			return false
		}
		suffix, s = suffix[:len(suffix)-n], s[:len(s)-size]
	}
	return true
}

func foldEqual(got, want rune) bool {
	return got == want || got == unicode.ToLower(want) || got == unicode.ToUpper(want)
}

// wildcard is the pieces between asterisks. Matching takes each middle piece at
// its first place, which is enough, and never goes back.
type wildcard []string

func parseWildcard(s string) (wildcard, string) {
	var w wildcard
	var piece strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '*' && i+1 < len(s) && s[i+1] == '*':
			// AWS counts the position in the value with its opening quote.
			return nil, "Consecutive wildcard characters at pos " + strconv.Itoa(i+1)
		case s[i] == '*':
			w = append(w, piece.String())
			piece.Reset()
		case s[i] == '\\':
			if i+1 == len(s) || s[i+1] != '*' && s[i+1] != '\\' {
				return nil, "Invalid escape character at pos " + strconv.Itoa(i+1)
			}
			i++
			piece.WriteByte(s[i])
		default:
			piece.WriteByte(s[i])
		}
	}
	return append(w, piece.String()), ""
}

func (m wildcard) match(l *leaf) bool {
	if l.kind != kindString {
		return false
	}
	s, last := l.text, len(m)-1
	if last == 0 {
		return s == m[0]
	}
	if !strings.HasPrefix(s, m[0]) {
		return false
	}
	s = s[len(m[0]):]
	for _, piece := range m[1:last] {
		i := strings.Index(s, piece)
		if i < 0 {
			return false
		}
		s = s[i+len(piece):]
	}
	return strings.HasSuffix(s, m[last])
}

// comparable64 is a JSON number's value, where a double holds it as written:
// event-ruler compares doubles, and no number that one would round.
func comparable64(text string) (float64, bool) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, false
	}
	if len(text) <= 15 && !strings.ContainsAny(text, ".eE") {
		return f, true
	}
	var buf [32]byte
	digits, exp := decimal(text)
	shortest, shortExp := decimal(string(strconv.AppendFloat(buf[:0], f, 'e', -1, 64)))
	return f, digits == shortest && (exp == shortExp || digits == "")
}

// decimal splits a number into its digits without zeros at the ends, and the
// power of ten of the last one. The sign does not matter here.
func decimal(text string) (string, int) {
	text = strings.TrimPrefix(text, "-")
	exp := 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		e, err := strconv.Atoi(text[i+1:])
		if err != nil {
			e = 1 << 30
		}
		text, exp = text[:i], e
	}
	if i := strings.IndexByte(text, '.'); i >= 0 {
		exp -= len(text) - i - 1
		text = text[:i] + text[i+1:]
	}
	text = strings.TrimLeft(text, "0")
	trimmed := strings.TrimRight(text, "0")
	return trimmed, exp + len(text) - len(trimmed)
}
