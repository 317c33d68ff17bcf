package tail

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"spoor/internal/aws"
	"spoor/internal/journal"
	"spoor/internal/record"
)

// Limits on what a client asks for.
const (
	maxConditions = 20
	maxCondition  = 2048 // bytes
)

// Filter is a set of conditions that a record must all meet.
type Filter []condition

type condition struct {
	path   []string
	field  record.Field // for the fields that are found without parsing
	quick  bool
	op     string
	value  string
	negate bool
}

// operators, the longer ones first where one is the tail of another.
var operators = []string{"!^=", "!*=", "!$=", "!=", "^=", "*=", "$=", "="}

// quickFields are those that a record carries the place of.
var quickFields = map[string]record.Field{
	"eventID": record.FieldEventID, "eventName": record.FieldEventName, "eventSource": record.FieldEventSource, "awsRegion": record.FieldRegion,
	"recipientAccountId": record.FieldAccount, "userIdentity.arn": record.FieldUserARN, "userIdentity.accessKeyId": record.FieldAccessKey,
	"errorCode": record.FieldErrorCode, "eventType": record.FieldEventType,
}

// ParseFilter reads conditions of the form FIELD OP VALUE. FIELD is a path such
// as userIdentity.userName or resources.ARN, through lists too; a list meets a
// condition when one of its elements does. OP is = (equals), ^= (begins with),
// $= (ends with), *= (contains), or one of them after a ! for its opposite. A
// field that a record does not have is the empty text.
func ParseFilter(conditions []string) (Filter, error) {
	if len(conditions) > maxConditions {
		return nil, invalid("at most %d conditions are taken", maxConditions)
	}
	f := make(Filter, 0, len(conditions))
	for _, text := range conditions {
		if len(text) > maxCondition {
			return nil, invalid("a condition may have %d bytes", maxCondition)
		}
		c, ok := parseCondition(text)
		if !ok {
			return nil, invalid("%q is no condition; write FIELD=VALUE, FIELD^=BEGIN, FIELD$=END, FIELD*=PART, or with ! before the operator", text)
		}
		f = append(f, c)
	}
	return f, nil
}

func parseCondition(text string) (condition, bool) {
	at := strings.IndexByte(text, '=')
	if at < 0 {
		return condition{}, false
	}
	for _, op := range operators {
		field, ok := strings.CutSuffix(text[:at+1], op)
		if !ok {
			continue
		}
		c := condition{path: strings.Split(field, "."), value: text[at+1:]}
		for _, part := range c.path {
			if part == "" || strings.ContainsAny(part, "!^$*\"") {
				return c, false
			}
		}
		c.field, c.quick = quickFields[field], false
		_, c.quick = quickFields[field]
		c.op, c.negate = strings.TrimPrefix(op, "!"), op[0] == '!'
		return c, true
	}
	return condition{}, false
}

func invalid(format string, args ...any) error {
	return &aws.Error{Op: "tail.Filter", Kind: aws.Invalid, Status: http.StatusBadRequest, Code: "ValidationException", Message: fmt.Sprintf(format, args...)}
}

// Match reports whether a record meets the filter. It parses the record only
// for fields that are not indexed, and then once.
func (f Filter) Match(it *journal.Item) (bool, error) {
	var event any
	for i := range f {
		c := &f[i]
		var met bool
		if c.quick {
			met = c.holds(it.Field(c.field))
		} else {
			if event == nil {
				if err := json.Unmarshal(it.JSON, &event); err != nil {
					return false, fmt.Errorf("record %d: %w", it.Seq, err)
				}
			}
			met = c.any(event, c.path)
		}
		if met == c.negate {
			return false, nil
		}
	}
	return true, nil
}

// any reports whether a value below v meets the condition, without its
// negation.
func (c *condition) any(v any, path []string) bool {
	if list, ok := v.([]any); ok {
		for _, x := range list {
			if c.any(x, path) {
				return true
			}
		}
		return len(list) == 0 && c.holds("")
	}
	if len(path) == 0 {
		return c.holds(text(v))
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return c.holds("")
	}
	return c.any(obj[path[0]], path[1:])
}

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("tail: encoding a parsed value: %v", err)) // what was parsed encodes
	}
	return string(b)
}

func (c *condition) holds(s string) bool {
	switch c.op {
	case "^=":
		return strings.HasPrefix(s, c.value)
	case "$=":
		return strings.HasSuffix(s, c.value)
	case "*=":
		return strings.Contains(s, c.value)
	}
	return s == c.value
}
