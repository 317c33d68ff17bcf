package awshttp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"spoor/internal/aws"
)

// Limits on what a request body may hold. AWS does not publish its own; these
// are well above what any SDK sends.
const (
	maxDepth      = 48
	maxParameters = 20_000 // form parameters of the query protocol
	maxListIndex  = 10_000 // highest member.N of the query protocol
)

// errTooDeep is a body nested deeper than maxDepth.
var errTooDeep = errors.New("the request is nested too deeply")

func serialization(format string, args ...any) error {
	return &aws.Error{Op: "awshttp.decode", Kind: aws.Invalid, Code: "SerializationException", Message: fmt.Sprintf(format, args...)}
}

// decodeJSON reads one JSON object. An empty body is an empty object, as AWS
// takes it.
func decodeJSON(body []byte) (map[string]any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return map[string]any{}, nil
	}
	if err := checkDepth(body); err != nil {
		return nil, serialization("%s", err)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, &aws.Error{Op: "awshttp.decode", Kind: aws.Invalid, Code: "SerializationException",
			Message: "The request body is not valid JSON.", Err: err}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, serialization("The request body holds more than one JSON value.")
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return nil, serialization("Start of structure or map found where not expected.")
	}
	return obj, nil
}

// checkDepth bounds the nesting before a decoder recurses into it.
func checkDepth(body []byte) error {
	depth, inString, escaped := 0, false, false
	for _, c := range body {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return errTooDeep
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// decodeForm reads the query protocol's parameters into the same shape that
// decodeJSON gives: nested maps, lists for member.N, strings at the leaves.
func decodeForm(form url.Values) (map[string]any, error) {
	if len(form) > maxParameters {
		return nil, malformedQuery("The request has too many parameters.")
	}
	root := map[string]any{}
	keys := make([]string, 0, len(form))
	for k := range form {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		if k == "Action" || k == "Version" || strings.HasPrefix(k, "X-Amz-") {
			continue
		}
		parts := strings.Split(k, ".")
		if len(parts) > maxDepth {
			return nil, malformedQuery(errTooDeep.Error())
		}
		at := root
		for _, p := range parts[:len(parts)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				if at[p] != nil {
					return nil, malformedQuery("Parameter " + k + " is given both as a value and as a structure.")
				}
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		last := parts[len(parts)-1]
		if at[last] != nil {
			return nil, malformedQuery("Parameter " + k + " is given both as a value and as a structure.")
		}
		at[last] = form[k][0]
	}
	out, err := lists(root)
	if err != nil {
		return nil, err
	}
	obj, ok := out.(map[string]any)
	if !ok {
		return nil, malformedQuery("The request's parameters are a list.")
	}
	return obj, nil
}

func malformedQuery(msg string) error {
	return &aws.Error{Op: "awshttp.decode", Kind: aws.Invalid, Code: "MalformedQueryString", Message: msg}
}

// lists turns {"member": {"1": a, "2": b}} into [a, b], and
// {"entry": {"1": {"key": k, "value": v}}} into {k: v}.
func lists(v any) (any, error) {
	obj, ok := v.(map[string]any)
	if !ok {
		return v, nil
	}
	if len(obj) == 1 {
		if m, ok := obj["member"]; ok {
			return indexed(m)
		}
		if m, ok := obj["entry"]; ok {
			return entries(m)
		}
	}
	for k, x := range obj {
		y, err := lists(x)
		if err != nil {
			return nil, err
		}
		obj[k] = y
	}
	return obj, nil
}

func indexed(v any) ([]any, error) {
	obj, ok := v.(map[string]any)
	if !ok {
		if s, isText := v.(string); isText && s == "" {
			return []any{}, nil // an empty list is sent as "Tags.member="
		}
		return nil, malformedQuery("A list parameter has no index.")
	}
	idx := make([]int, 0, len(obj))
	for k := range obj {
		n, err := strconv.Atoi(k)
		if err != nil || n < 0 || n > maxListIndex {
			return nil, malformedQuery("A list parameter has the index " + strconv.Quote(k) + ".")
		}
		idx = append(idx, n)
	}
	sort.Ints(idx)
	out := make([]any, 0, len(idx))
	for _, n := range idx {
		x, err := lists(obj[strconv.Itoa(n)])
		if err != nil {
			return nil, err
		}
		if x != nil {
			out = append(out, x)
		}
	}
	return out, nil
}

func entries(v any) (map[string]any, error) {
	list, err := indexed(v)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, e := range list {
		pair, ok := e.(map[string]any)
		k, isText := pair["key"].(string)
		if !ok || !isText {
			return nil, malformedQuery("A map parameter's entry has no key.")
		}
		out[k] = pair["value"]
	}
	return out, nil
}

// wireTree renames the members of a decoded input to the SDK's field names by
// upper-casing the first letter; assign does that as it goes. text says that
// leaves are strings whatever their type (query protocol).
type assigner struct{ text bool }

var timeType = reflect.TypeFor[time.Time]()

// assign stores a decoded value into an SDK input by reflection. Unknown
// members are ignored, as AWS does.
func (a assigner) assign(dst reflect.Value, src any, path string) error {
	if src == nil {
		return nil
	}
	if dst.Kind() == reflect.Pointer {
		if dst.IsNil() {
			dst.Set(reflect.New(dst.Type().Elem()))
		}
		return a.assign(dst.Elem(), src, path)
	}
	if dst.Type() == timeType {
		return a.assignTime(dst, src, path)
	}
	switch dst.Kind() {
	case reflect.Struct:
		return a.assignStruct(dst, src, path)
	case reflect.Slice:
		return a.assignSlice(dst, src, path)
	case reflect.Map:
		obj, ok := src.(map[string]any)
		if !ok {
			return wrongType(src, "a map")
		}
		dst.Set(reflect.MakeMapWithSize(dst.Type(), len(obj)))
		for k, x := range obj {
			e := reflect.New(dst.Type().Elem()).Elem()
			if err := a.assign(e, x, path+"."+k); err != nil {
				return err
			}
			dst.SetMapIndex(reflect.ValueOf(k).Convert(dst.Type().Key()), e)
		}
		return nil
	case reflect.String:
		s, ok := src.(string)
		if !ok {
			return wrongType(src, "a String")
		}
		dst.SetString(s)
		return nil
	default:
		return a.assignScalar(dst, src, path)
	}
}

func (a assigner) assignStruct(dst reflect.Value, src any, path string) error {
	obj, ok := src.(map[string]any)
	if !ok {
		return wrongType(src, "a structure")
	}
	for k, x := range obj {
		f := dst.FieldByName(upperFirst(k))
		if !f.IsValid() || !f.CanSet() || k == "ResultMetadata" {
			continue
		}
		if err := a.assign(f, x, path+"."+k); err != nil {
			return err
		}
	}
	return nil
}

func (a assigner) assignSlice(dst reflect.Value, src any, path string) error {
	if dst.Type().Elem().Kind() == reflect.Uint8 {
		s, ok := src.(string)
		if !ok {
			return wrongType(src, "a blob")
		}
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return serialization("%s is not base64.", member(path))
		}
		dst.SetBytes(b)
		return nil
	}
	list, ok := src.([]any)
	if !ok {
		if s, isText := src.(string); a.text && isText && s == "" {
			list = []any{}
		} else {
			return wrongType(src, "a list")
		}
	}
	out := reflect.MakeSlice(dst.Type(), 0, min(len(list), 1024))
	for i, x := range list {
		e := reflect.New(dst.Type().Elem()).Elem()
		if err := a.assign(e, x, path+"."+strconv.Itoa(i+1)); err != nil {
			return err
		}
		out = reflect.Append(out, e)
	}
	dst.Set(out)
	return nil
}

func (a assigner) assignScalar(dst reflect.Value, src any, path string) error {
	if a.text {
		s, ok := src.(string)
		if !ok {
			return wrongType(src, "a value")
		}
		if dst.Kind() == reflect.Bool {
			v, err := strconv.ParseBool(strings.ToLower(s))
			if err != nil {
				return malformedQuery("Boolean must be true or false at " + member(path) + ".")
			}
			dst.SetBool(v)
			return nil
		}
		src = json.Number(s)
	}
	if dst.Kind() == reflect.Bool {
		v, ok := src.(bool)
		if !ok {
			return wrongType(src, "a Boolean")
		}
		dst.SetBool(v)
		return nil
	}
	n, ok := src.(json.Number)
	if !ok {
		return wrongType(src, numberNames[dst.Kind()])
	}
	switch dst.Kind() {
	case reflect.Int32, reflect.Int64:
		v, err := strconv.ParseInt(string(n), 10, dst.Type().Bits())
		if err != nil {
			return serialization("%s is not an integer in range.", member(path))
		}
		dst.SetInt(v)
	case reflect.Float32, reflect.Float64:
		v, err := strconv.ParseFloat(string(n), dst.Type().Bits())
		if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
			return serialization("%s is not a number in range.", member(path))
		}
		dst.SetFloat(v)
	default:
		return serialization("%s cannot be given.", member(path))
	}
	return nil
}

// numberNames are AWS's names of the number types.
var numberNames = map[reflect.Kind]string{reflect.Int32: "an Integer", reflect.Int64: "a Long", reflect.Float32: "a Float", reflect.Float64: "a Double"}

// maxEpoch keeps times inside what RFC 3339 can print.
const maxEpoch = 253402300799

func (a assigner) assignTime(dst reflect.Value, src any, path string) error {
	switch x := src.(type) {
	case json.Number:
		f, err := x.Float64()
		if err != nil || math.Abs(f) > maxEpoch {
			return serialization("%s is not a time in range.", member(path))
		}
		sec, frac := math.Modf(f)
		dst.Set(reflect.ValueOf(time.Unix(int64(sec), int64(math.Round(frac*1e3))*int64(time.Millisecond)).UTC()))
		return nil
	case string:
		t, err := time.Parse(time.RFC3339Nano, x)
		if err != nil {
			return serialization("%s is not a time.", member(path))
		}
		dst.Set(reflect.ValueOf(t.UTC()))
		return nil
	}
	return wrongType(src, "a Timestamp")
}

func member(path string) string { return strings.TrimPrefix(path, ".") }

// wrongType is a value that is not of its member's type, in the words that
// AWS's JSON services have for it; want is "a String" and so on for a scalar,
// "a list", "a map" or "a structure" otherwise.
func wrongType(src any, want string) error {
	got := ""
	switch v := src.(type) {
	case string:
		got = "STRING_VALUE"
	case json.Number:
		got = "NUMBER_VALUE"
	case bool:
		got = strings.ToUpper(strconv.FormatBool(v)) + "_VALUE"
	case []any:
		return serialization("Start of list found where not expected")
	case map[string]any:
		return serialization("Start of structure or map found where not expected.")
	}
	switch want {
	case "a list":
		return serialization("Expected list or null")
	case "a map", "a structure":
		return serialization("Unexpected field type")
	}
	return serialization("%s can not be converted to %s", got, want)
}

func upperFirst(s string) string {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}

func lowerFirst(s string) string {
	if s != "" && s[0] >= 'A' && s[0] <= 'Z' {
		return string(s[0]-'A'+'a') + s[1:]
	}
	return s
}
