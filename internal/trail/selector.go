package trail

import (
	"slices"
	"strings"

	"spoor/internal/aws"
	"spoor/internal/record"
)

// Selectors say which events a trail wants (AWS CloudTrail API reference,
// "EventSelector" and "AdvancedEventSelector"). A trail has basic or advanced
// ones, never both; with neither it takes all management events.
type Selectors struct {
	Basic    []BasicSelector    `json:"basic,omitempty"`
	Advanced []AdvancedSelector `json:"advanced,omitempty"`
}

// ReadWrite is the ReadWriteType of a basic selector.
type ReadWrite string

const (
	All       ReadWrite = "All"
	ReadOnly  ReadWrite = "ReadOnly"
	WriteOnly ReadWrite = "WriteOnly"
)

// BasicSelector is an event selector of the first kind.
type BasicSelector struct {
	ReadWrite         ReadWrite      `json:"readWrite"`
	IncludeManagement bool           `json:"includeManagement"`
	ExcludeSources    []string       `json:"excludeSources,omitempty"`
	DataResources     []DataResource `json:"dataResources,omitempty"`
}

// DataResource selects data events of one type by the start of their ARN.
type DataResource struct {
	Type   string   `json:"type"`
	Values []string `json:"values"`
}

// AdvancedSelector matches when all of its fields do.
type AdvancedSelector struct {
	Name   string          `json:"name,omitempty"`
	Fields []FieldSelector `json:"fields"`
}

// FieldSelector is a condition on one field. Within an operator any value may
// hold (for the Not… operators none may); all operators given must.
type FieldSelector struct {
	Field         string   `json:"field"`
	Equals        []string `json:"equals,omitempty"`
	StartsWith    []string `json:"startsWith,omitempty"`
	EndsWith      []string `json:"endsWith,omitempty"`
	NotEquals     []string `json:"notEquals,omitempty"`
	NotStartsWith []string `json:"notStartsWith,omitempty"`
	NotEndsWith   []string `json:"notEndsWith,omitempty"`
}

// Fields of advanced selectors, by AWS's names.
const (
	FieldCategory       = "eventCategory"
	FieldSource         = "eventSource"
	FieldName           = "eventName"
	FieldType           = "eventType"
	FieldReadOnly       = "readOnly"
	FieldResourceType   = "resources.type"
	FieldResourceARN    = "resources.ARN"
	FieldUserARN        = "userIdentity.arn"
	FieldConsoleSession = "sessionCredentialFromConsole"
	FieldErrorCode      = "errorCode"
	FieldVPCEndpoint    = "vpcEndpointId"
)

// event is a record as selectors see it, on its way into the journal or read
// back from it.
type event interface {
	category() record.Category
	readOnly() bool
	// text returns the field, or "" for one that the event does not have.
	text(field string) string
	resources() int
	resource(i int) (typ, arn string)
}

// matcher is a compiled Selectors. It does not change.
type matcher struct {
	basic    []BasicSelector
	advanced []advanced
	anyData  bool
}

type advanced struct {
	category  record.Category
	fields    []FieldSelector // on the event itself
	resources []FieldSelector // must all hold for one and the same resource
}

var categories = map[string]record.Category{
	"Management": record.Management, "Data": record.Data, "NetworkActivity": record.NetworkActivity,
}

// compile prepares s, which must be valid (see the cloudtrail package).
func compile(s Selectors) *matcher {
	m := &matcher{basic: s.Basic}
	for _, b := range s.Basic {
		m.anyData = m.anyData || len(b.DataResources) > 0
	}
	for _, a := range s.Advanced {
		c, known := advanced{}, false
		for _, f := range a.Fields {
			switch {
			case f.Field == FieldCategory && len(f.Equals) > 0:
				c.category, known = categories[f.Equals[0]]
			case strings.HasPrefix(f.Field, "resources."):
				c.resources = append(c.resources, f)
			default:
				c.fields = append(c.fields, f)
			}
		}
		if !known {
			continue // a category without events here, such as Insight
		}
		m.anyData = m.anyData || c.category == record.Data
		m.advanced = append(m.advanced, c)
	}
	if len(s.Basic) == 0 && len(s.Advanced) == 0 {
		m.basic = []BasicSelector{{ReadWrite: All, IncludeManagement: true}}
	}
	return m
}

// matches reports whether some selector wants e.
func (m *matcher) matches(e event) bool {
	for i := range m.basic {
		if m.basic[i].matches(e) {
			return true
		}
	}
	for i := range m.advanced {
		if m.advanced[i].matches(e) {
			return true
		}
	}
	return false
}

func (b *BasicSelector) matches(e event) bool {
	if b.ReadWrite == ReadOnly && !e.readOnly() || b.ReadWrite == WriteOnly && e.readOnly() {
		return false
	}
	switch e.category() {
	case record.Management:
		return b.IncludeManagement && (len(b.ExcludeSources) == 0 || !slices.Contains(b.ExcludeSources, e.text(FieldSource)))
	case record.Data:
		for i := range b.DataResources {
			if b.DataResources[i].matches(e) {
				return true
			}
		}
	}
	return false
}

// matches: a value is the start of an ARN; "arn:aws:s3" stands for everything
// of the type, a bucket's ARN with a slash for the bucket.
func (d *DataResource) matches(e event) bool {
	for i := range e.resources() {
		typ, arn := e.resource(i)
		if typ != d.Type {
			continue
		}
		for _, v := range d.Values {
			if strings.HasPrefix(arn, v) {
				return true
			}
		}
	}
	return false
}

func (a *advanced) matches(e event) bool {
	if e.category() != a.category {
		return false
	}
	for i := range a.fields {
		if !a.fields[i].holds(fieldText(e, a.fields[i].Field)) {
			return false
		}
	}
	if len(a.resources) == 0 {
		return true
	}
	for i := range e.resources() {
		typ, arn := e.resource(i)
		if a.resourceHolds(typ, arn) {
			return true
		}
	}
	return false
}

func (a *advanced) resourceHolds(typ, arn string) bool {
	for i := range a.resources {
		v := arn
		if a.resources[i].Field == FieldResourceType {
			v = typ
		}
		if !a.resources[i].holds(v) {
			return false
		}
	}
	return true
}

func fieldText(e event, field string) string {
	if field == FieldReadOnly {
		if e.readOnly() {
			return "true"
		}
		return "false"
	}
	return e.text(field)
}

// holds reports whether v satisfies every operator of f.
func (f *FieldSelector) holds(v string) bool {
	if len(f.Equals) > 0 && !slices.Contains(f.Equals, v) ||
		len(f.NotEquals) > 0 && slices.Contains(f.NotEquals, v) {
		return false
	}
	return (len(f.StartsWith) == 0 || anyAffix(f.StartsWith, v, strings.HasPrefix)) &&
		(len(f.EndsWith) == 0 || anyAffix(f.EndsWith, v, strings.HasSuffix)) &&
		!anyAffix(f.NotStartsWith, v, strings.HasPrefix) &&
		!anyAffix(f.NotEndsWith, v, strings.HasSuffix)
}

func anyAffix(values []string, v string, has func(s, affix string) bool) bool {
	for _, x := range values {
		if has(v, x) {
			return true
		}
	}
	return false
}

// HasData reports whether s selects any data event.
func (s Selectors) HasData() bool { return compile(s).anyData }

// Region rules.

// globalEvent reports whether an event is one of a service without regions,
// which AWS records in us-east-1 only.
func globalEvent(region, source string) bool {
	return region == aws.GlobalRegion && (source == "iam.amazonaws.com" || source == "sts.amazonaws.com")
}

// inRegion reports whether a trail of home region home takes events of region.
func (s *Settings) inRegion(home, region string, e event) bool {
	if region != home && !s.MultiRegion {
		return false
	}
	return s.GlobalEvents || region != aws.GlobalRegion || !globalEvent(region, e.text(FieldSource))
}

// recordEvent is a record before it is encoded. A conversion of the pointer
// makes one without allocating.
type recordEvent record.Record

func (e *recordEvent) category() record.Category { return e.Category }
func (e *recordEvent) readOnly() bool            { return e.ReadOnly }
func (e *recordEvent) resources() int            { return len(e.Resources) }
func (e *recordEvent) resource(i int) (typ, arn string) {
	return e.Resources[i].Type, e.Resources[i].ARN
}
func (e *recordEvent) text(field string) string {
	switch field {
	case FieldSource:
		return e.EventSource
	case FieldName:
		return e.EventName
	case FieldType:
		if e.EventType == "" {
			return "AwsApiCall"
		}
		return e.EventType
	case FieldUserARN:
		if e.Caller != nil {
			return e.Caller.ARN
		}
	case FieldErrorCode:
		return e.ErrorCode
	}
	return ""
}

// entryEvent is a record read from the journal. It may be used again for the
// next one through set.
type entryEvent struct {
	e      *record.Entry
	loaded bool
	list   []typeARN
}

type typeARN struct{ typ, arn string }

func (e *entryEvent) set(x *record.Entry)       { e.e, e.loaded, e.list = x, false, e.list[:0] }
func (e *entryEvent) category() record.Category { return e.e.Category }
func (e *entryEvent) readOnly() bool            { return e.e.ReadOnly }
func (e *entryEvent) resources() int            { return e.e.NumResources() }
func (e *entryEvent) resource(i int) (typ, arn string) {
	if !e.loaded {
		e.loaded = true
		e.e.Resources(func(typ, arn string) { e.list = append(e.list, typeARN{typ, arn}) })
	}
	return e.list[i].typ, e.list[i].arn
}

func (e *entryEvent) text(field string) string {
	switch field {
	case FieldSource:
		return e.e.Field(record.FieldEventSource)
	case FieldName:
		return e.e.Field(record.FieldEventName)
	case FieldType:
		return e.e.Field(record.FieldEventType)
	case FieldUserARN:
		return e.e.Field(record.FieldUserARN)
	case FieldErrorCode:
		return e.e.Field(record.FieldErrorCode)
	}
	return ""
}
