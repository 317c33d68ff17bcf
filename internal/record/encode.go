package record

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"spoor/internal/aws"
)

// span is a piece of an entry's JSON: the raw, still escaped content of a
// string, so that readers find a field without parsing the record.
type span struct{ off, len uint32 }

// Field names a span that every entry carries.
type Field uint8

const (
	FieldEventID Field = iota
	FieldEventName
	FieldEventSource
	FieldRegion
	FieldAccount
	FieldUserARN
	FieldUserName // what LookupEvents calls Username
	FieldAccessKey
	FieldErrorCode
	FieldEventType
	numFields
)

// Identity is an encoded userIdentity.
type Identity struct {
	json           []byte
	arn, user, key span // relative to json
}

// EncodeIdentity encodes a caller as userIdentity. Connections keep the result
// and share it between their calls.
func EncodeIdentity(c *aws.Caller) *Identity {
	id := &Identity{json: make([]byte, 0, 512)}
	b := append(id.json, `{"type":`...)
	str := func(key, val string) span {
		b = append(b, ',', '"')
		b = append(b, key...)
		b = append(b, '"', ':')
		start := len(b) + 1
		b = AppendString(b, val)
		return span{uint32(start), uint32(len(b) - 1 - start)}
	}
	if c.Type == aws.Anonymous {
		b = append(b, `"AWSAccount","principalId":"","accountId":"`+anonymousAccount+`"}`...)
		id.json = b
		return id
	}
	b = AppendString(b, string(c.Type))
	if c.PrincipalID != "" || c.Type == aws.Unknown {
		str("principalId", c.PrincipalID)
	}
	if c.ARN != "" {
		id.arn = str("arn", c.ARN)
	}
	if c.AccountID != "" {
		str("accountId", c.AccountID)
	}
	if c.AccessKeyID != "" {
		id.key = str("accessKeyId", c.AccessKeyID)
	}
	if c.UserName != "" && (c.Type == aws.IAMUser || c.Type == aws.WebIdentityUser || c.Type == aws.Unknown) {
		id.user = str("userName", c.UserName)
	}
	if c.IdentityProvider != "" {
		str("identityProvider", c.IdentityProvider)
	}
	if s := c.Session; s != nil {
		b = append(b, `,"sessionContext":`...)
		at := len(b)
		var name span
		b, name = appendSession(b, c, s)
		if id.user.len == 0 && name.len != 0 {
			id.user = span{uint32(at) + name.off, name.len}
		}
	}
	if c.InvokedBy != "" {
		str("invokedBy", c.InvokedBy)
	}
	id.json = append(b, '}')
	if id.user.len == 0 && c.Type == aws.AssumedRole && c.Session != nil {
		// Event history shows a role session under its session name, which is the
		// tail of the principal id.
		id.user = findTail(id.json, c.PrincipalID, c.Session.Name)
	}
	return id
}

// appendSession appends sessionContext. The span is the session's user name
// where the record itself has it.
func appendSession(b []byte, c *aws.Caller, s *aws.Session) ([]byte, span) {
	b = append(b, '{')
	if s.IssuerARN != "" && s.IssuerType != string(aws.IAMUser) {
		b = append(b, `"sessionIssuer":{"type":`...)
		b = AppendString(b, s.IssuerType)
		b = append(b, `,"principalId":`...)
		b = AppendString(b, s.IssuerPrincipalID)
		b = append(b, `,"arn":`...)
		b = AppendString(b, s.IssuerARN)
		b = append(b, `,"accountId":`...)
		b = AppendString(b, s.IssuerAccountID)
		b = append(b, `,"userName":`...)
		b = AppendString(b, s.IssuerUserName)
		b = append(b, `},`...)
	}
	b = append(b, `"webIdFederationData":{`...)
	if s.FederatedProvider != "" {
		b = append(b, `"federatedProvider":`...)
		b = AppendString(b, s.FederatedProvider)
	}
	b = append(b, `},"attributes":{"mfaAuthenticated":"`...)
	if s.MFA {
		b = append(b, "true"...)
	} else {
		b = append(b, "false"...)
	}
	b = append(b, `","creationDate":"`...)
	b = s.CreationDate.UTC().AppendFormat(b, eventTimeLayout)
	b = append(b, `"}`...)
	if s.SourceIdentity != "" {
		b = append(b, `,"sourceIdentity":`...)
		b = AppendString(b, s.SourceIdentity)
	}
	return append(b, '}'), span{}
}

// findTail locates the session name at the end of the principalId value.
func findTail(js []byte, principal, name string) span {
	if name == "" || principal == "" {
		return span{}
	}
	quoted := AppendString(nil, principal)
	tail := AppendString(nil, name)
	if len(tail) > len(quoted) {
		return span{}
	}
	for i := 0; i+len(quoted) <= len(js); i++ {
		if string(js[i:i+len(quoted)]) == string(quoted) {
			n := len(tail) - 2
			return span{uint32(i + len(quoted) - 1 - n), uint32(n)}
		}
	}
	return span{}
}

// Entry is a record as the journal keeps it: the JSON and where its fields are.
type Entry struct {
	Category Category
	ReadOnly bool
	Time     time.Time // eventTime, to the millisecond
	JSON     []byte
	fields   [numFields]span
	res      resSpans
	extra    []byte // what some consumers get beside JSON; see Form
}

type resSpan struct{ typ, arn span }

// resSpans is a list of resources that needs no memory of its own for one or
// two, as most records have.
type resSpans struct {
	first [2]resSpan
	more  []resSpan
	n     int
}

func (l *resSpans) at(i int) resSpan {
	if i < len(l.first) {
		return l.first[i]
	}
	return l.more[i-len(l.first)]
}

func (l *resSpans) add(r resSpan) {
	if l.n < len(l.first) {
		l.first[l.n] = r
	} else {
		l.more = append(l.more, r)
	}
	l.n++
}

// Field returns a field's text, or "" when the record has none.
func (e *Entry) Field(f Field) string { return e.text(e.fields[f]) }

// UserAgent returns the record's userAgent.
func (e *Entry) UserAgent() string { return e.behindRegion(`,"userAgent":"`) }

// SourceIP returns the record's sourceIPAddress.
func (e *Entry) SourceIP() string { return e.behindRegion(`,"sourceIPAddress":"`) }

// behindRegion returns a text that stands in a record behind awsRegion, whose
// place is known; a quotation mark inside of a value would be escaped.
func (e *Entry) behindRegion(member string) string {
	at := int(e.fields[FieldRegion].off)
	i := bytes.Index(e.JSON[at:], []byte(member))
	if i < 0 {
		return ""
	}
	at += i + len(member)
	for end := at; end < len(e.JSON); end++ {
		switch e.JSON[end] {
		case '\\':
			end++
		case '"':
			return e.text(span{uint32(at), uint32(end - at)})
		}
	}
	return ""
}

// Resources calls fn for each of the record's resources.
func (e *Entry) Resources(fn func(typ, arn string)) {
	for i := range e.res.n {
		r := e.res.at(i)
		fn(e.text(r.typ), e.text(r.arn))
	}
}

// NumResources is the number of the record's resources.
func (e *Entry) NumResources() int { return e.res.n }

// Is reports whether a field has the given text; it makes no copy of it.
func (e *Entry) Is(f Field, text string) bool {
	s := e.fields[f]
	raw := e.JSON[s.off : s.off+s.len]
	if bytes.IndexByte(raw, '\\') >= 0 {
		return e.text(s) == text
	}
	return string(raw) == text
}

func (e *Entry) text(s span) string {
	raw := e.JSON[s.off : s.off+s.len]
	for _, c := range raw {
		if c == '\\' {
			var out string
			quoted := append(append([]byte{'"'}, raw...), '"')
			if err := json.Unmarshal(quoted, &out); err != nil {
				return string(raw)
			}
			return out
		}
	}
	return string(raw)
}

// Entry format, version 1: version byte, flags byte (bits 0-2 category, bit 3
// readOnly), eventTime in unix milliseconds as varint, number of resources,
// numFields spans, two spans a resource, then the JSON to the end. A span is
// offset and length as uvarints; offsets count from the JSON's start.
//
// A version byte of 2 is followed by the length and the bytes of an extra part
// (see appendExtra), and then by an entry of version 1 without its version.
const (
	entryVersion   = 1
	entryWithExtra = 2
)

// maxEntryHeader bounds what stands before the JSON, without the resources.
const maxEntryHeader = 2 + 2*binary.MaxVarintLen64 + 2*binary.MaxVarintLen32*int(numFields)

// ErrDamaged is wrapped by DecodeEntry's errors: the bytes are not an entry.
var ErrDamaged = errors.New("record: damaged entry")

// AppendEntry encodes r and appends the journal's form of it to dst. scratch
// is a buffer for the JSON; the grown buffer is returned for the next call.
func (r *Record) AppendEntry(dst, scratch []byte) (entry, grown []byte) {
	var enc encoder
	js := enc.record(scratch[:0], r)
	if len(js) > MaxEvent {
		// AWS caps an event at 256 KB by leaving out the large members.
		cut := *r
		cut.RequestParameters, cut.ResponseElements = []byte(omittedContent), nil
		cut.AdditionalEventData = nil
		cut.Resources = nil
		enc = encoder{}
		js = enc.record(js[:0], &cut)
	}
	flags := byte(r.Category)
	if r.ReadOnly {
		flags |= 1 << 3
	}
	dst = slices.Grow(dst, len(js)+maxEntryHeader+4*binary.MaxVarintLen32*enc.res.n)
	return appendHead(dst, flags, r.EventTime, &enc, js), js
}

// DecodeEntry reads an entry. The result refers to b.
func DecodeEntry(b []byte) (Entry, error) {
	var e Entry
	if len(b) > 1 && b[0] == entryWithExtra {
		n, w := binary.Uvarint(b[1:])
		if w <= 0 || n > uint64(len(b)-1-w) {
			return e, fmt.Errorf("%w: extra part", ErrDamaged)
		}
		at := 1 + w + int(n)
		e.extra, b = b[1+w:at], b[at-1:] // the byte before stands for the version
	} else if len(b) < 2 || b[0] != entryVersion {
		return e, fmt.Errorf("%w: unknown version", ErrDamaged)
	}
	if len(b) < 2 {
		return e, fmt.Errorf("%w: no entry", ErrDamaged)
	}
	e.Category, e.ReadOnly = Category(b[1]&7), b[1]&(1<<3) != 0
	if int(e.Category) >= len(categoryNames) {
		return e, fmt.Errorf("%w: unknown category", ErrDamaged)
	}
	ms, n := binary.Varint(b[2:])
	if n <= 0 {
		return e, fmt.Errorf("%w: time", ErrDamaged)
	}
	e.Time = time.UnixMilli(ms).UTC()
	d := spanReader{b: b[2+n:]}
	nres := d.uint()
	for i := range e.fields {
		e.fields[i] = d.span()
	}
	if nres > uint64(len(d.b)) {
		return e, fmt.Errorf("%w: resources", ErrDamaged)
	}
	for range nres {
		e.res.add(resSpan{d.span(), d.span()})
	}
	e.JSON = d.b
	if d.bad || !d.fit(uint32(len(d.b)), &e) {
		return e, fmt.Errorf("%w: spans", ErrDamaged)
	}
	return e, nil
}

type spanReader struct {
	b   []byte
	bad bool
}

func (d *spanReader) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *spanReader) span() span {
	off, n := d.uint(), d.uint()
	if off > MaxEvent*2 || n > MaxEvent*2 {
		d.bad = true
		return span{}
	}
	return span{uint32(off), uint32(n)}
}

func (d *spanReader) fit(n uint32, e *Entry) bool {
	in := func(s span) bool { return s.off+s.len <= n }
	for _, s := range e.fields {
		if !in(s) {
			return false
		}
	}
	for i := range e.res.n {
		r := e.res.at(i)
		if !in(r.typ) || !in(r.arn) {
			return false
		}
	}
	return true
}

// encoder writes one record and notes where its fields are.
type encoder struct {
	fields [numFields]span
	res    resSpans
	limits *limits // nil means standardLimits
}

// limits of a record's members, in bytes.
type limits struct {
	userAgent, errorCode, errorMessage, requestID int // truncated
	request, response, additional, details        int // content omitted
}

var standardLimits = limits{MaxUserAgent, MaxErrorCode, MaxErrorMessage, MaxRequestID,
	MaxRequestParameters, MaxResponseElements, MaxAdditionalData, MaxRequestParameters}

// appendText appends ,"key":"val" and returns where val is.
func appendText(b []byte, key, val string) ([]byte, span) {
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, '"', ':')
	start := len(b) + 1
	b = AppendString(b, val)
	return b, span{uint32(start), uint32(len(b) - 1 - start)}
}

func appendObject(b []byte, key string, obj []byte, limit int) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, '"', ':')
	switch {
	case len(obj) == 0:
		return append(b, "null"...)
	case len(obj) > limit:
		return append(b, omittedContent...)
	}
	return append(b, obj...)
}

func (e *encoder) record(b []byte, r *Record) []byte {
	lim := e.limits
	if lim == nil {
		lim = &standardLimits
	}
	id := r.Identity
	if id == nil {
		id = EncodeIdentity(r.Caller)
	}
	b = append(b, `{"eventVersion":"`+EventVersion+`","userIdentity":`...)
	at := uint32(len(b))
	b = append(b, id.json...)
	shift := func(s span) span {
		if s.len == 0 {
			return span{}
		}
		return span{s.off + at, s.len}
	}
	e.fields[FieldUserARN], e.fields[FieldUserName], e.fields[FieldAccessKey] = shift(id.arn), shift(id.user), shift(id.key)
	b = append(b, `,"eventTime":"`...)
	b = r.EventTime.UTC().AppendFormat(b, eventTimeLayout)
	b = append(b, '"')
	b, e.fields[FieldEventSource] = appendText(b, "eventSource", r.EventSource)
	b, e.fields[FieldEventName] = appendText(b, "eventName", r.EventName)
	b, e.fields[FieldRegion] = appendText(b, "awsRegion", r.Region)
	b, _ = appendText(b, "sourceIPAddress", r.SourceIP)
	if r.UserAgent != "" {
		b, _ = appendText(b, "userAgent", truncate(r.UserAgent, lim.userAgent))
	}
	if r.ErrorCode != "" {
		b, e.fields[FieldErrorCode] = appendText(b, "errorCode", truncate(r.ErrorCode, lim.errorCode))
		if r.ErrorMessage != "" {
			b, _ = appendText(b, "errorMessage", truncate(r.ErrorMessage, lim.errorMessage))
		}
	}
	b = appendObject(b, "requestParameters", r.RequestParameters, lim.request)
	b = appendObject(b, "responseElements", r.ResponseElements, lim.response)
	if len(r.AdditionalEventData) > 0 {
		b = appendObject(b, "additionalEventData", r.AdditionalEventData, lim.additional)
	}
	if r.RequestID != "" {
		b, _ = appendText(b, "requestID", truncate(r.RequestID, lim.requestID))
	}
	b, e.fields[FieldEventID] = appendText(b, "eventID", r.EventID)
	b = append(b, `,"readOnly":`...)
	b = appendBool(b, r.ReadOnly)
	b = e.resources(b, r.Resources)
	typ := r.EventType
	if typ == "" {
		typ = typeAPICall
	}
	b, e.fields[FieldEventType] = appendText(b, "eventType", typ)
	if r.APIVersion != "" && typ == typeAPICall {
		b, _ = appendText(b, "apiVersion", r.APIVersion)
	}
	b = append(b, `,"managementEvent":`...)
	b = appendBool(b, r.Category == Management)
	b, e.fields[FieldAccount] = appendText(b, "recipientAccountId", r.AccountID)
	if len(r.ServiceEventDetails) > 0 {
		b = appendObject(b, "serviceEventDetails", r.ServiceEventDetails, lim.details)
	}
	if r.SharedEventID != "" {
		b, _ = appendText(b, "sharedEventID", r.SharedEventID)
	}
	b, _ = appendText(b, "eventCategory", r.Category.String())
	b = appendTLS(b, r.TLS)
	return append(b, '}')
}

func (e *encoder) resources(b []byte, rs []Resource) []byte {
	if len(rs) == 0 {
		return b
	}
	b = append(b, `,"resources":[`...)
	for i, res := range rs {
		if i > 0 {
			b = append(b, ',')
		}
		var s resSpan
		b = append(b, `{"accountId":`...)
		b = AppendString(b, res.AccountID)
		if res.Type != "" {
			b, s.typ = appendText(b, "type", res.Type)
		}
		b, s.arn = appendText(b, "ARN", res.ARN)
		b = append(b, '}')
		e.res.add(s)
	}
	return append(b, ']')
}

func appendTLS(b []byte, t *TLS) []byte {
	if t == nil {
		return b
	}
	b = append(b, `,"tlsDetails":{"tlsVersion":`...)
	b = AppendString(b, t.Version)
	b = append(b, `,"cipherSuite":`...)
	b = AppendString(b, t.CipherSuite)
	if t.Host != "" {
		b = append(b, `,"clientProvidedHostHeader":`...)
		b = AppendString(b, t.Host)
	}
	if t.KeyExchange != "" {
		b = append(b, `,"keyExchange":`...)
		b = AppendString(b, t.KeyExchange)
	}
	return append(b, '}')
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, "true"...)
	}
	return append(b, "false"...)
}
