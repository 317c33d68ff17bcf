package record

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
)

// MaxLargeEvent is the size of a whole event for consumers that ask for large
// events.
const MaxLargeEvent = 1 << 20

// An event data store may ask for more than a record's standard form: for
// events of up to 1 MB, and for an eventContext (CloudTrail user guide, "Enrich
// CloudTrail events by adding resource tag keys and IAM global condition
// keys"). The journal keeps that beside the record: Entry.JSON is the standard
// form whether or not somebody wants more, and Entry.Form makes the other ones.

// Wanted is what the consumers of an account and region want beside the
// standard form of records, all of them taken together.
type Wanted struct {
	RequestKeys []string // global condition keys, as AWS spells them
	TagKeys     []string
}

// Context is what a call's eventContext is made of. It holds the keys that some
// consumer wants.
type Context struct {
	Request   map[string]string // by condition key
	Resources []TaggedResource
	Principal map[string]string // tags
}

// TaggedResource is a resource of the call with tags.
type TaggedResource struct {
	ARN  string            `json:"arn"`
	Tags map[string]string `json:"tags"`
}

// Form is what one consumer wants of records.
type Form struct {
	Large       bool
	RequestKeys []string
	TagKeys     []string
}

// extra is the part of an entry that goes to some consumers only.
type extra struct {
	// Trail is the ARN of the only trail that takes the record, "" for a record
	// that is everybody's.
	Trail   string
	Context *Context
	large   []byte // the record's large form, nil when that is the standard form
}

// storedExtra is extra without the large form, as an entry has it.
type storedExtra struct {
	Trail     string            `json:"t,omitempty"`
	Request   map[string]string `json:"q,omitempty"`
	Resources []TaggedResource  `json:"r,omitempty"`
	Principal map[string]string `json:"p,omitempty"`
}

// appendExtra appends the extra part of an entry: the large form's length and
// bytes, then JSON.
func appendExtra(dst []byte, x *extra) []byte {
	s := storedExtra{Trail: x.Trail}
	if c := x.Context; c != nil {
		s.Request, s.Resources, s.Principal = c.Request, c.Resources, c.Principal
	}
	js, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("record: encoding an entry's extra part: %v", err)) // texts only
	}
	dst = binary.AppendUvarint(dst, uint64(len(x.large)))
	dst = append(dst, x.large...)
	return append(dst, js...)
}

// decodeExtra reads what appendExtra wrote. The large form refers to b.
func decodeExtra(b []byte) (storedExtra, []byte, error) {
	var s storedExtra
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return s, nil, fmt.Errorf("%w: extra part", ErrDamaged)
	}
	large := b[w : w+int(n)]
	if err := json.Unmarshal(b[w+int(n):], &s); err != nil {
		return s, nil, fmt.Errorf("%w: extra part", ErrDamaged)
	}
	return s, large, nil
}

// OnlyFor is the ARN of the trail that alone takes the record, or "".
func (e *Entry) OnlyFor() (string, error) {
	if e.extra == nil {
		return "", nil
	}
	s, _, err := decodeExtra(e.extra)
	return s.Trail, err
}

// Form is the record as a consumer wants it. It is e.JSON itself where that is
// so. What does not fit into a large event is left out as trim does, and of an
// event that had its context taken away by that, none is given.
func (e *Entry) Form(f *Form) ([]byte, error) {
	if e.extra == nil || !f.Large {
		return e.JSON, nil
	}
	s, large, err := decodeExtra(e.extra)
	if err != nil {
		return nil, err
	}
	js := e.JSON
	if len(large) > 0 {
		js = large
	}
	context := s.context(f)
	if len(context) == 0 || len(js)+len(context) > MaxLargeEvent {
		return js, nil
	}
	out := make([]byte, 0, len(js)+len(context))
	out = append(out, js[:len(js)-1]...)
	out = append(out, context...)
	return append(out, '}'), nil
}

// context is the member eventContext with a comma before it, or nothing when
// the call has none of a form's keys. Keys are in order.
func (s *storedExtra) context(f *Form) []byte {
	request := pick(s.Request, f.RequestKeys)
	principal := pick(s.Principal, f.TagKeys)
	var resources []TaggedResource
	for _, r := range s.Resources {
		if tags := pick(r.Tags, f.TagKeys); len(tags) > 0 {
			resources = append(resources, TaggedResource{r.ARN, tags})
		}
	}
	if len(request) == 0 && len(principal) == 0 && len(resources) == 0 {
		return nil
	}
	b := []byte(`,"eventContext":{`)
	if len(request) > 0 {
		b = appendTexts(append(b, `"requestContext":`...), request)
	}
	if len(principal) > 0 || len(resources) > 0 {
		if len(request) > 0 {
			b = append(b, ',')
		}
		b = append(b, `"tagContext":{`...)
		for i, r := range resources {
			b = append(b, [2]string{`,`, `"resourceTags":[`}[b2i(i == 0)]...)
			b = AppendString(append(b, `{"arn":`...), r.ARN)
			b = append(appendTexts(append(b, `,"tags":`...), r.Tags), '}')
		}
		if len(resources) > 0 {
			b = append(b, ']')
		}
		if len(principal) > 0 {
			if len(resources) > 0 {
				b = append(b, ',')
			}
			b = appendTexts(append(b, `"principalTags":`...), principal)
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// pick is the part of m that keys name.
func pick(m map[string]string, keys []string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		if slices.Contains(keys, k) {
			out[k] = v
		}
	}
	return out
}

func appendTexts(b []byte, m map[string]string) []byte {
	b = append(b, '{')
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendString(b, k)
		b = AppendString(append(b, ':'), m[k])
	}
	return append(b, '}')
}

// AppendEnriched is AppendEntry for a record that some consumer wants in
// another form: the standard form is what AppendEntry makes of r, byte for
// byte, and beside it are what the large form has more and the context.
func (r *Record) AppendEnriched(dst, scratch []byte, c *Context) (entry, grown []byte) {
	x := extra{Context: c}
	room := MaxLargeEvent
	if c != nil {
		all := storedExtra{Request: c.Request, Resources: c.Resources, Principal: c.Principal}
		room -= len(all.context(&Form{RequestKeys: slices.Collect(maps.Keys(c.Request)), TagKeys: all.tagKeys()}))
	}
	var fit bool
	if x.large, fit = r.large(room); !fit {
		x.Context = nil
		x.large, _ = r.large(MaxLargeEvent)
	}
	plain, grown := r.AppendEntry(nil, scratch)
	if string(x.large) == string(grown) {
		x.large = nil
	}
	if x.large == nil && x.Context.empty() {
		return append(dst, plain...), grown
	}
	return wrapExtra(dst, &x, plain), grown
}

// wrapExtra appends an entry with an extra part: a version byte, the extra
// part's length and bytes, then the entry without its version.
func wrapExtra(dst []byte, x *extra, plain []byte) []byte {
	more := appendExtra(nil, x)
	dst = append(slices.Grow(dst, len(more)+len(plain)+binary.MaxVarintLen32+1), entryWithExtra)
	dst = binary.AppendUvarint(dst, uint64(len(more)))
	dst = append(dst, more...)
	return append(dst, plain[1:]...)
}

func (c *Context) empty() bool {
	return c == nil || len(c.Request) == 0 && len(c.Resources) == 0 && len(c.Principal) == 0
}

func (s *storedExtra) tagKeys() []string {
	out := slices.Collect(maps.Keys(s.Principal))
	for _, r := range s.Resources {
		for k := range r.Tags {
			out = append(out, k)
		}
	}
	sort.Strings(out)
	return slices.Compact(out)
}

// largeLimits leave every member whole.
var largeLimits = limits{math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt}

// large is the record's large form without eventContext, cut to room. Members
// that are over their own limit are left out only as far as the event needs it,
// in the order that AWS names. fit is false when the context had to go before
// that was enough: it stands in that order before the response and the request.
func (r *Record) large(room int) (js []byte, fit bool) {
	cut := *r
	lim := largeLimits
	try := func() bool {
		enc := encoder{limits: &lim}
		js = enc.record(js[:0], &cut)
		return len(js) <= room
	}
	if try() {
		return js, true
	}
	for i, step := range []func(){
		func() { lim.requestID = MaxRequestID },
		func() { lim.additional = MaxAdditionalData },
		func() { lim.details = MaxRequestParameters },
		func() { lim.userAgent = MaxUserAgent },
		func() { lim.errorCode = MaxErrorCode },
		func() { room = MaxLargeEvent }, // eventContext goes
		func() { lim.response = MaxResponseElements },
		func() { lim.request = MaxRequestParameters },
		func() { lim.errorMessage = MaxErrorMessage },
		// What is still too big has many resources.
		func() { cut.Resources = nil },
	} {
		if step(); try() {
			return js, i < contextStep
		}
	}
	return js, false
}

// contextStep is the place of eventContext in the order of large.
const contextStep = 5
