package policy

import (
	"strings"
	"unicode/utf8"
)

// token is one element of a compiled pattern: a byte, or a wildcard. Keeping
// wildcards apart from bytes makes a "*" that a variable's value holds a plain
// character, whatever the value is.
type token int16

const (
	anyRun  token = -1 // *
	anyChar token = -2 // ?
	// The same inside a segment of an ARN: they do not match a colon.
	segmentRun  token = -3
	segmentChar token = -4
)

// pattern is a text with * and ?, and perhaps variables, as it stands in
// Action, Resource and in the values of conditions. The common forms are told
// apart when the policy is compiled.
type pattern struct {
	text   string // as written
	form   form
	plain  string  // formLiteral: the text; formPrefix: the text before the *
	tokens []token // formGlob
	parts  []part  // when there are variables or escapes
	// inHead says that the first five segments of an ARN have a wildcard.
	inHead bool
}

type form uint8

const (
	formAny form = iota
	formLiteral
	formPrefix
	formGlob
	formSegments // formGlob with tokens that stay in a segment
	formVariable // expanded at evaluation
)

// part is a piece of a text with variables.
type part struct {
	text string
	// escaped is true for ${*}, ${?} and ${$}: text is that character itself.
	escaped bool
	// key is the lower-case condition key of a variable; empty for text. name
	// is the key as written.
	key, name  string
	fallback   string
	hasDefault bool
}

// compilePattern compiles a text. variables is false for documents of Version
// 2008-10-17, in which ${ is plain text (IAM user guide, "Policy variables").
func compilePattern(s string, variables bool) pattern { return compileText(s, variables, false) }

// compileARN compiles a Resource. Wildcards stay within their segment of the
// ARN, but for a * that ends one: it reaches over colons (IAM user guide, "IAM
// JSON policy elements: Resource", "Using wildcards in resource ARNs").
func compileARN(s string, variables bool) pattern { return compileText(s, variables, true) }

func compileText(s string, variables, arn bool) pattern {
	p := pattern{text: s}
	if s == "*" {
		return p // formAny
	}
	parts := []part{{text: s}}
	if variables && strings.Contains(s, "${") {
		parts = splitVariables(s)
		p.parts = parts
	}
	for _, x := range parts {
		if x.key != "" {
			p.form = formVariable
			p.inHead = arn && strings.ContainsAny(strings.Join(arnParts(s)[:arnSegments-1], ""), "*?")
			return p
		}
	}
	p.tokens, _ = expand(nil, parts, nil)
	if arn && inSegments(p.tokens, parts, nil) {
		p.form = formSegments
		return p
	}
	wild := -1
	for i, t := range p.tokens {
		if t < 0 {
			wild = i
			break
		}
	}
	switch {
	case wild < 0:
		p.form, p.plain, p.tokens = formLiteral, bytesOf(p.tokens), nil
	case wild == len(p.tokens)-1 && p.tokens[wild] == anyRun:
		p.form, p.plain, p.tokens = formPrefix, bytesOf(p.tokens[:wild]), nil
	default:
		p.form = formGlob
	}
	return p
}

// inSegments changes the wildcards of the first five segments that do not end
// theirs, and reports whether there are any. Colons that a variable's value
// brings separate no segments.
func inSegments(t []token, parts []part, ctx Context) bool {
	i, segment, found := 0, 0, false
	for k := range parts {
		if x := &parts[k]; x.key != "" || x.escaped {
			n := len(x.text)
			if x.key != "" {
				v, _ := x.value(ctx)
				n = len(v)
			}
			i += n
			continue
		}
		for range len(parts[k].text) {
			switch {
			case t[i] == ':':
				segment++
			case segment >= arnSegments-1:
				return found
			case t[i] == anyChar:
				t[i], found = segmentChar, true
			case t[i] == anyRun && i+1 < len(t) && t[i+1] != ':':
				t[i], found = segmentRun, true
			}
			i++
		}
	}
	return found
}

func bytesOf(p []token) string {
	b := make([]byte, len(p))
	for i, t := range p {
		b[i] = byte(t)
	}
	return string(b)
}

// splitVariables splits a text at ${key}, ${key, 'default'}, ${*}, ${?} and
// ${$}. A ${ that is not closed is text.
func splitVariables(s string) []part {
	var out []part
	for s != "" {
		i := strings.Index(s, "${")
		end := -1
		if i >= 0 {
			end = strings.IndexByte(s[i:], '}')
		}
		if end < 0 {
			return append(out, part{text: s})
		}
		if i > 0 {
			out = append(out, part{text: s[:i]})
		}
		name := s[i+2 : i+end]
		s = s[i+end+1:]
		if name == "*" || name == "?" || name == "$" {
			out = append(out, part{text: name, escaped: true})
			continue
		}
		key, def, has := strings.Cut(name, ",")
		key = strings.TrimSpace(key)
		if key == "" {
			out = append(out, part{text: "${" + name + "}", escaped: true})
			continue
		}
		out = append(out, part{key: strings.ToLower(key), name: key, fallback: unquote(def), hasDefault: has})
	}
	return out
}

// unquote takes the single quotes off a variable's default.
func unquote(s string) string {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && s[0] == '\'' && s[len(s)-1] == '\'' {
		return s[1 : len(s)-1]
	}
	return s
}

// value is what a variable stands for. ok is false when its key has no single
// value and no default: a pattern with such a variable matches nothing.
func (p *part) value(ctx Context) (string, bool) {
	if v, ok := ctx.Lookup(p.key); ok && len(v) == 1 {
		return v[0], true
	}
	return p.fallback, p.hasDefault
}

// expand appends the parts with variables replaced. Wildcards come only from
// the policy's own text.
func expand(dst []token, parts []part, ctx Context) ([]token, bool) {
	for i := range parts {
		p := &parts[i]
		text, literal := p.text, p.escaped
		if p.key != "" {
			var ok bool
			if text, ok = p.value(ctx); !ok {
				return dst, false
			}
			literal = true
		}
		for j := 0; j < len(text); j++ {
			switch c := text[j]; {
			case c == '*' && !literal:
				dst = append(dst, anyRun)
			case c == '?' && !literal:
				dst = append(dst, anyChar)
			default:
				dst = append(dst, token(c))
			}
		}
	}
	return dst, true
}

// eachKey calls fn with every variable's key, in lower case and as written.
func (p *pattern) eachKey(fn func(key, name string)) {
	for i := range p.parts {
		if p.parts[i].key != "" {
			fn(p.parts[i].key, p.parts[i].name)
		}
	}
}

// literalText is the pattern as a value, for operators without wildcards.
func (p *pattern) literalText(ctx Context) (string, bool) {
	switch {
	case p.form == formLiteral:
		return p.plain, true
	case p.parts == nil:
		return p.text, true
	}
	var b strings.Builder
	for i := range p.parts {
		text := p.parts[i].text
		if p.parts[i].key != "" {
			var ok bool
			if text, ok = p.parts[i].value(ctx); !ok {
				return "", false
			}
		}
		b.WriteString(text)
	}
	return b.String(), true
}

// stackTokens is the room for an expanded pattern that needs no allocation.
const stackTokens = 192

// match matches s.
func (p *pattern) match(s string, ctx Context) bool {
	switch p.form {
	case formAny:
		return true
	case formLiteral:
		return p.plain == s
	case formPrefix:
		return strings.HasPrefix(s, p.plain)
	case formVariable:
		var room [stackTokens]token
		t, ok := expand(room[:0], p.parts, ctx)
		if ok && p.inHead && inSegments(t, p.parts, ctx) {
			return automaton(t, s)
		}
		return ok && glob(t, s)
	case formSegments:
		return automaton(p.tokens, s)
	}
	return glob(p.tokens, s)
}

// automaton matches patterns with wildcards of both kinds, which no single
// point of return can: it keeps every place in the pattern that the text so far
// may have led to.
func automaton(p []token, s string) bool {
	at, next := make([]bool, len(p)+1), make([]bool, len(p)+1)
	at[0] = true
	skip := func(at []bool) {
		for i, t := range p {
			if at[i] && (t == anyRun || t == segmentRun) {
				at[i+1] = true
			}
		}
	}
	skip(at)
	for j := 0; j < len(s); {
		n := charLen(s, j)
		clear(next)
		for i, t := range p {
			switch {
			case !at[i]:
			case t == anyRun || t == segmentRun && s[j] != ':':
				next[i] = true
			case t == anyChar || t == segmentChar && s[j] != ':':
				next[i+1] = true
			case i+n <= len(p) && sameBytes(p[i:i+n], s[j:j+n]):
				next[i+n] = true
			}
		}
		at, next = next, at
		skip(at)
		j += n
	}
	return at[len(p)]
}

func sameBytes(p []token, s string) bool {
	for i, t := range p {
		if t != token(s[i]) {
			return false
		}
	}
	return true
}

// glob matches * (any run) and ? (any one character) without recursion: after
// a mismatch, the last * takes one character more.
func glob[S ~string | ~[]byte](p []token, s S) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == anyRun:
			star, mark = i, j
			i++
		case i < len(p) && p[i] == anyChar:
			i++
			j += charLen(s, j)
		case i < len(p) && p[i] == token(s[j]):
			i++
			j++
		case star >= 0:
			mark += charLen(s, mark)
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == anyRun {
		i++
	}
	return i == len(p)
}

// charLen is the length in bytes of the character at s[i:].
func charLen[S ~string | ~[]byte](s S, i int) int {
	if s[i] < utf8.RuneSelf {
		return 1
	}
	var room [utf8.UTFMax]byte
	_, n := utf8.DecodeRune(room[:copy(room[:], s[i:])])
	return n
}

// arnSegments is the number of colon-separated parts of an ARN; the last holds
// whatever follows, colons too.
const arnSegments = 6

// globSegments matches two ARNs segment by segment.
func globSegments(p []token, s string) bool {
	for range arnSegments - 1 {
		i := indexToken(p, ':')
		j := strings.IndexByte(s, ':')
		if i < 0 || j < 0 || !glob(p[:i], s[:j]) {
			return false
		}
		p, s = p[i+1:], s[j+1:]
	}
	return glob(p, s)
}

func indexToken(p []token, t token) int {
	for i, x := range p {
		if x == t {
			return i
		}
	}
	return -1
}

// actionSet is the Action of a statement, by service, so that a statement with
// hundreds of actions costs two look-ups.
type actionSet struct {
	all      bool
	services map[string]*serviceActions
	wild     [][]token // service:name where the service has a wildcard
}

type serviceActions struct {
	all   bool
	names map[string]struct{}
	globs [][]token // of the name
}

// add adds an action in lower case.
func (a *actionSet) add(action string) {
	service, name, _ := strings.Cut(action, ":")
	switch {
	case action == "*":
		a.all = true
		return
	case strings.ContainsAny(service, "*?"):
		t, _ := expand(nil, []part{{text: action}}, nil)
		a.wild = append(a.wild, t)
		return
	}
	if a.services == nil {
		a.services = map[string]*serviceActions{}
	}
	s := a.services[service]
	if s == nil {
		s = &serviceActions{names: map[string]struct{}{}}
		a.services[service] = s
	}
	switch {
	case name == "*":
		s.all = true
	case strings.ContainsAny(name, "*?"):
		t, _ := expand(nil, []part{{text: name}}, nil)
		s.globs = append(s.globs, t)
	default:
		s.names[name] = struct{}{}
	}
}

// has reports whether the set has an action, which is split at its colon.
func (a *actionSet) has(r *action) bool {
	if a.all {
		return true
	}
	if s := a.services[string(r.service())]; s != nil {
		name := r.name()
		if s.all {
			return true
		}
		if _, ok := s.names[string(name)]; ok {
			return true
		}
		for _, g := range s.globs {
			if glob(g, name) {
				return true
			}
		}
	}
	for _, g := range a.wild {
		if glob(g, r.text) {
			return true
		}
	}
	return false
}

// action is a request's action in lower case.
type action struct {
	text  []byte
	colon int
}

// lowerAction writes an action into dst, which lies on the caller's stack.
func lowerAction(dst []byte, s string) action {
	colon := len(s)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c == ':' && colon == len(s) {
			colon = i
		}
		dst = append(dst, c)
	}
	return action{text: dst, colon: colon}
}

func (a *action) service() []byte { return a.text[:a.colon] }

func (a *action) name() []byte { return a.text[min(a.colon+1, len(a.text)):] }
