package policy

import "strings"

// pattern is a text with * and ?, and perhaps variables. The common forms,
// "*", a literal and a literal with one * at its end, are told apart once.
type pattern struct {
	text   string
	form   form
	prefix string // for formPrefix
}

type form uint8

const (
	formAny form = iota
	formLiteral
	formPrefix
	formGlob
	formVariable // holds ${…}: expanded at evaluation
)

func compilePattern(s string, variables bool) pattern {
	switch {
	case s == "*":
		return pattern{text: s, form: formAny}
	case variables && strings.Contains(s, "${"):
		return pattern{text: s, form: formVariable}
	case !strings.ContainsAny(s, "*?"):
		return pattern{text: s, form: formLiteral}
	case strings.IndexAny(s, "*?") == len(s)-1 && s[len(s)-1] == '*':
		return pattern{text: s, form: formPrefix, prefix: s[:len(s)-1]}
	}
	return pattern{text: s, form: formGlob}
}

// match matches s. Variables are looked up in ctx; one that has no value
// matches nothing.
func (p *pattern) match(s string, ctx Context) bool {
	switch p.form {
	case formAny:
		return true
	case formLiteral:
		return p.text == s
	case formPrefix:
		return strings.HasPrefix(s, p.prefix)
	case formVariable:
		g, ok := expand(p.text, ctx)
		return ok && glob(g, s)
	}
	return glob(p.text, s)
}

// Escaped forms of the wildcards inside an expanded pattern: a value that a
// variable gives is literal, whatever characters it holds.
const (
	literalStar     = '\x01'
	literalQuestion = '\x02'
	literalDollar   = '\x03'
)

// glob matches * (any run) and ? (any one byte) without recursion.
func glob(p, s string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || literal(p[i]) == s[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

func literal(c byte) byte {
	switch c {
	case literalStar:
		return '*'
	case literalQuestion:
		return '?'
	case literalDollar:
		return '$'
	}
	return c
}

// expand replaces ${key} and ${key, 'default'}. ${*}, ${?} and ${$} are the
// characters themselves. ok is false when a key has no single value and no
// default (IAM user guide, "Policy variables").
func expand(s string, ctx Context) (string, bool) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), true
		}
		b.WriteString(s[:i])
		s = s[i+2:]
		end := strings.IndexByte(s, '}')
		if end < 0 {
			b.WriteString("${")
			continue
		}
		name := s[:end]
		s = s[end+1:]
		switch name {
		case "*":
			b.WriteByte(literalStar)
			continue
		case "?":
			b.WriteByte(literalQuestion)
			continue
		case "$":
			b.WriteByte(literalDollar)
			continue
		}
		key, def, hasDefault := strings.Cut(name, ",")
		values, ok := ctx.Lookup(strings.ToLower(strings.TrimSpace(key)))
		switch {
		case ok && len(values) == 1:
			writeLiteral(&b, values[0])
		case hasDefault:
			writeLiteral(&b, strings.Trim(strings.TrimSpace(def), "'"))
		default:
			return "", false
		}
	}
}

func writeLiteral(b *strings.Builder, s string) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '*':
			b.WriteByte(literalStar)
		case '?':
			b.WriteByte(literalQuestion)
		default:
			b.WriteByte(s[i])
		}
	}
}

// plain is an expanded pattern as a value, for operators without wildcards.
func plain(s string) string {
	if !strings.ContainsAny(s, "\x01\x02\x03") {
		return s
	}
	b := []byte(s)
	for i := range b {
		b[i] = literal(b[i])
	}
	return string(b)
}
