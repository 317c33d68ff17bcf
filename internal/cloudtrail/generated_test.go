package cloudtrail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"spoor/internal/awshttp/model"
	"spoor/internal/call"
)

// texts are values for required texts, tried in this order.
var texts = []string{"abcdef", "123e4567-e89b-12d3-a456-426614174000", "arn:aws:cloudtrail:us-east-1:123456789012:channel/123e4567-e89b-12d3-a456-426614174000",
	"123456789012", "s3.amazonaws.com"}

// send makes a call on the wire, as no SDK would let it through.
func (r *rig) send(service, op string, in map[string]any) (status int, kind, message string) {
	r.t.Helper()
	query := ""
	if service == "cloudtrail-data" {
		in = maps.Clone(in)
		if arn, ok := in["channelArn"].(string); ok {
			query = "?channelArn=" + arn
		}
		delete(in, "channelArn")
	}
	body, err := json.Marshal(in)
	if err != nil {
		r.t.Fatal(err)
	}
	path := "/"
	if service == "cloudtrail-data" {
		path = "/" + op + query
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if service == "cloudtrail" {
		req.Header.Set("X-Amz-Target", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101."+op)
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAROOT/20261101/us-east-1/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct{ Message string }
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		r.t.Fatalf("%s: %v", op, err)
	}
	return resp.StatusCode, resp.Header.Get("x-amzn-ErrorType"), out.Message
}

// without lists every way to leave one member out of in, with the member's
// path as AWS's messages spell it. Every member of in is required.
func without(in map[string]any, path string, rebuild func(map[string]any) map[string]any, found func(path string, in map[string]any)) {
	for _, k := range slices.Sorted(maps.Keys(in)) {
		less := maps.Clone(in)
		delete(less, k)
		at := strings.ToLower(k[:1]) + k[1:]
		if path != "" {
			at = path + "." + at
		}
		found(at, rebuild(less))
		with := func(v any) map[string]any {
			more := maps.Clone(in)
			more[k] = v
			return rebuild(more)
		}
		switch x := in[k].(type) {
		case map[string]any:
			without(x, at, func(m map[string]any) map[string]any { return with(m) }, found)
		case []any:
			if m, ok := x[0].(map[string]any); ok {
				without(m, at+".1.member", func(m map[string]any) map[string]any { return with([]any{m}) }, found)
			}
		}
	}
}

// missingCode is what a missing member is answered with: the exception of the
// selectors that it is part of, or the code of all violations of a model.
func missingCode(path string) string {
	for prefix, code := range map[string]string{"advancedEventSelectors": "InvalidEventSelectorsException", "insightSelectors": "InvalidInsightSelectorsException"} {
		if strings.HasPrefix(path, prefix) {
			return code
		}
	}
	return "ValidationException"
}

// operationCount is how many operations AWS's models have (API 2013-11-01 of
// cloudtrail, 2021-08-11 of cloudtrail-data).
var operationCount = map[string]int{"cloudtrail": 60, "cloudtrail-data": 1}

// TestEveryOperation calls every operation with the least that its model
// accepts, and with each of its required members missing. The answers are
// those that the model names.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"cloudtrail", "cloudtrail-data"} {
		m, err := model.Load(service)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(m.Operations()); n != operationCount[service] {
			t.Errorf("the model of %s has %d operations, want %d", service, n, operationCount[service])
		}
		offered := Service(Config{})
		if service == "cloudtrail-data" {
			offered = DataService(Config{})
		}
		for _, op := range m.Operations() {
			t.Run(op, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				in, err := m.Minimal(op, texts)
				if err != nil {
					t.Fatal(err)
				}
				status, kind, message := r.send(service, op, in)
				switch {
				case status == http.StatusOK:
				case status >= 500:
					t.Errorf("the least input: %d %s: %s", status, kind, message)
				case kind == "ValidationException" || !slices.Contains(m.Errors(op), kind):
					t.Errorf("the least input is answered %s, which the model of %s does not name: %s", kind, op, message)
				}
				// An operation that is offered does not say that it is not, and one that
				// is refused never succeeds.
				switch c := offered.Coverage(op); {
				case c.State == "":
					t.Error("the table of operations does not know it")
				case c.State != call.Refusal && kind == unsupported:
					t.Errorf("the table says %s, the answer to the least input is %s: %s", c.State, kind, message)
				case c.State == call.Refusal && status == http.StatusOK:
					t.Error("the table says refused, the least input succeeds")
				}
				n := 0
				without(in, "", func(m map[string]any) map[string]any { return m }, func(path string, less map[string]any) {
					n++
					want := fmt.Sprintf("Value null at '%s' failed to satisfy constraint: Member must not be null", path)
					status, kind, message := r.send(service, op, less)
					if status != http.StatusBadRequest || kind != missingCode(path) || !strings.Contains(message, want) {
						t.Errorf("without %s: %d %s: %s", path, status, kind, message)
					}
				})
				if n == 0 && len(in) > 0 {
					t.Error("nothing was left out")
				}
			})
		}
	}
}
