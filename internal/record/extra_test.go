package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// arbitrary makes a record whose members are often over their limits.
func arbitrary(rnd *rand.Rand) *Record {
	size := func(limit int) int { return []int{0, 5, limit - 20, limit + 20, 4 * limit}[rnd.IntN(5)] }
	object := func(limit int) []byte {
		n := size(limit)
		if n <= 0 {
			return nil
		}
		return fmt.Appendf(nil, `{"a":"%s"}`, strings.Repeat("x", n))
	}
	r := &Record{Caller: user(), EventTime: time.Unix(1700217484, 0), EventSource: "athena.amazonaws.com", EventName: "StartQueryExecution", EventID: "id",
		Region: "us-east-1", AccountID: "111122223333", UserAgent: strings.Repeat("ä", size(MaxUserAgent)/2), ErrorCode: strings.Repeat("c", size(MaxErrorCode)),
		ErrorMessage: strings.Repeat("m", size(MaxErrorMessage)), RequestID: strings.Repeat("r", size(MaxRequestID)),
		RequestParameters: object(MaxRequestParameters), ResponseElements: object(MaxResponseElements), AdditionalEventData: object(MaxAdditionalData)}
	for range rnd.IntN(10) / 9 * 4000 {
		r.Resources = append(r.Resources, Resource{Type: "AWS::S3::Object", ARN: "arn:aws:s3:::bucket/key-of-some-length", AccountID: "111122223333"})
	}
	return r
}

func someContext(rnd *rand.Rand) *Context {
	if rnd.IntN(3) == 0 {
		return nil
	}
	return &Context{Request: map[string]string{"aws:PrincipalArn": "arn:aws:iam::111122223333:user/u", "aws:EpochTime": "1700217484"},
		Resources: []TaggedResource{{"arn:aws:athena:us-east-1:111122223333:workgroup/w", map[string]string{"team": "a\"b", "stage": "prod"}}, {"arn:x", map[string]string{"stage": "dev"}}},
		Principal: map[string]string{"team": "red"}}
}

var everything = Form{Large: true, RequestKeys: []string{"aws:PrincipalArn", "aws:EpochTime"}, TagKeys: []string{"team", "stage"}}

// TestStandardFormIsTheSame: whoever takes the standard form gets, whether or
// not somebody wants more, the very bytes of a journal without such wishes,
// with the same fields; the large form has every member whole as long as it
// fits.
func TestStandardFormIsTheSame(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	enriched, larger := 0, 0
	for range 150 {
		r, c := arbitrary(rnd), someContext(rnd)
		plain, _ := r.AppendEntry(nil, nil)
		more, _ := r.AppendEnriched([]byte("before"), nil, c)
		want, err := DecodeEntry(plain)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeEntry(more[len("before"):])
		if err != nil {
			t.Fatal(err)
		}
		if got.extra != nil {
			enriched++
		}
		for _, f := range []Form{{}, {RequestKeys: everything.RequestKeys, TagKeys: everything.TagKeys}} {
			if js, err := got.Form(&f); err != nil || !bytes.Equal(js, want.JSON) {
				t.Fatalf("the standard form is another one: %v", err)
			}
		}
		large, err := got.Form(&everything)
		if err != nil {
			t.Fatal(err)
		}
		got.extra = nil
		if !reflect.DeepEqual(want, got) {
			t.Fatal("the entries' fields differ")
		}
		if len(large) > MaxLargeEvent {
			t.Fatalf("a large event has %d bytes", len(large))
		}
		var m struct {
			Request   json.RawMessage `json:"requestParameters"`
			UserAgent string          `json:"userAgent"`
			Context   json.RawMessage `json:"eventContext"`
		}
		if err := json.Unmarshal(large, &m); err != nil {
			t.Fatalf("the large form is no JSON: %v", err)
		}
		whole, fit := r.large(MaxLargeEvent)
		if fit && len(whole) < MaxLargeEvent-1000 {
			larger++
			if len(r.RequestParameters) > 0 && !bytes.Equal(m.Request, r.RequestParameters) {
				t.Fatalf("a request of %d bytes was cut in an event of %d", len(r.RequestParameters), len(whole))
			}
			if m.UserAgent != r.UserAgent || (c != nil) != (m.Context != nil) {
				t.Fatalf("the user agent or the context is not whole: %s", m.Context)
			}
		}
	}
	if enriched < 30 || larger < 20 {
		t.Errorf("%d records had an extra part, %d were whole", enriched, larger)
	}
}

// TestTrimOrder: what is cut of an event that is too large is cut in AWS's
// order, and only as far as it must be.
func TestTrimOrder(t *testing.T) {
	t.Parallel()
	big := func(n int) []byte { return fmt.Appendf(nil, `{"a":"%s"}`, strings.Repeat("x", n)) }
	r := &Record{Caller: user(), EventID: "id", RequestID: strings.Repeat("r", 2000), UserAgent: strings.Repeat("u", 2000),
		AdditionalEventData: big(40 << 10), ResponseElements: big(500 << 10), RequestParameters: big(600 << 10)}
	c := &Context{Request: map[string]string{"aws:PrincipalArn": "arn"}}
	data, _ := r.AppendEnriched(nil, nil, c)
	e, err := DecodeEntry(data)
	if err != nil {
		t.Fatal(err)
	}
	js, err := e.Form(&everything)
	if err != nil {
		t.Fatal(err)
	}
	m := decode(t, js)
	for _, k := range []string{"additionalEventData", "responseElements"} {
		if d := cmp.Diff(map[string]any{"omitted": true}, m[k]); d != "" {
			t.Errorf("%s: %s", k, d)
		}
	}
	if len(m["requestID"].(string)) != MaxRequestID || len(m["userAgent"].(string)) != MaxUserAgent || m["eventContext"] != nil {
		t.Errorf("requestID %d, userAgent %d, eventContext %v", len(m["requestID"].(string)), len(m["userAgent"].(string)), m["eventContext"])
	}
	if s := m["requestParameters"].(map[string]any)["a"].(string); len(s) != 600<<10 {
		t.Errorf("the request was cut to %d bytes, which stands behind the response", len(s))
	}
	r.ResponseElements = nil
	data, _ = r.AppendEnriched(nil, nil, c)
	if e, err = DecodeEntry(data); err != nil {
		t.Fatal(err)
	}
	if js, err = e.Form(&everything); err != nil || decode(t, js)["eventContext"] == nil || len(decode(t, js)["requestID"].(string)) != 2000 {
		t.Errorf("an event that fits was cut (%v)", err)
	}
}

// TestEventContext: a consumer gets the keys that it asks for, and no member
// that would be empty.
func TestEventContext(t *testing.T) {
	t.Parallel()
	c := &Context{Request: map[string]string{"aws:PrincipalArn": "arn:u", "aws:EpochTime": "17"},
		Resources: []TaggedResource{{"arn:w", map[string]string{"team": "a\"b", "stage": "prod"}}, {"arn:x", map[string]string{"stage": "dev"}}},
		Principal: map[string]string{"team": "red"}}
	r := &Record{Caller: user(), EventID: "id"}
	data, _ := r.AppendEnriched(nil, nil, c)
	e, err := DecodeEntry(data)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		form Form
		want string
	}{
		"all": {everything, `{"requestContext":{"aws:EpochTime":"17","aws:PrincipalArn":"arn:u"},"tagContext":{"resourceTags":[{"arn":"arn:w","tags":{"stage":"prod","team":"a\"b"}},` +
			`{"arn":"arn:x","tags":{"stage":"dev"}}],"principalTags":{"team":"red"}}}`},
		"request":    {Form{Large: true, RequestKeys: []string{"aws:EpochTime"}}, `{"requestContext":{"aws:EpochTime":"17"}}`},
		"a resource": {Form{Large: true, TagKeys: []string{"stage", "absent"}}, `{"tagContext":{"resourceTags":[{"arn":"arn:w","tags":{"stage":"prod"}},{"arn":"arn:x","tags":{"stage":"dev"}}]}}`},
		"team":       {Form{Large: true, TagKeys: []string{"team"}}, `{"tagContext":{"resourceTags":[{"arn":"arn:w","tags":{"team":"a\"b"}}],"principalTags":{"team":"red"}}}`},
		"nothing":    {Form{Large: true, TagKeys: []string{"absent"}, RequestKeys: []string{"aws:SourceVpc"}}, ``},
		"no keys":    {Form{Large: true}, ``},
		"standard":   {Form{RequestKeys: []string{"aws:EpochTime"}}, ``},
	} {
		js, err := e.Form(&tc.form)
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Context json.RawMessage `json:"eventContext"`
		}
		if err := json.Unmarshal(js, &m); err != nil || string(m.Context) != tc.want {
			t.Errorf("%s: %s (%v)", name, m.Context, err)
		}
	}
}
