package crash

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"spoor/test/harness"
)

// topic is the trail's SNS topic, validation what it gets when a trail names it.
const (
	topic      = "crash-topic"
	validation = "CloudTrail validation message."
)

// startReceiver takes SNS's posts, refuses every third, and returns the file
// that declares it.
func (w *world) startReceiver(t *testing.T, file string) string {
	t.Helper()
	w.notified = map[string]int{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	posts := 0
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var post struct{ Type, Message string }
		var named struct {
			S3ObjectKey []string `json:"s3ObjectKey"`
		}
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return // the server was killed while it sent
		}
		if err = json.Unmarshal(raw, &post); err == nil && post.Message == validation {
			return
		}
		if err == nil {
			err = json.Unmarshal([]byte(post.Message), &named)
		}
		if err != nil || post.Type != "Notification" || len(named.S3ObjectKey) == 0 {
			w.fail("the topic's endpoint got %q (%v)", raw, err)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if posts++; posts%3 == 0 {
			rw.WriteHeader(http.StatusInternalServerError)
			return
		}
		for _, key := range named.S3ObjectKey {
			w.notified[key]++
		}
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	conf, err := json.Marshal(map[string]any{"topics": []map[string]any{{
		"arn": "arn:aws:sns:us-east-1:123456789012:" + topic, "endpoint": "http://" + l.Addr().String() + "/"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// announced takes what the endpoint has got once every delivered file is among
// it, or as it is when patience has passed.
func (w *world) announced(e *evidence) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for late := time.After(patience); ; {
		w.mu.Lock()
		e.announced = maps.Clone(w.notified)
		w.mu.Unlock()
		missing := false
		for _, f := range e.files {
			missing = missing || e.announced[f.key] == 0
		}
		if !missing {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			return // judge says which are missing
		}
	}
}

// denyAll is a policy that keeps CloudTrail from delivering.
func denyAll(bucket string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::` + bucket + `/*"}]}`
}

// setPolicy puts the trail bucket's policy, if the server is there: a kill may
// come at any time.
func (w *world) setPolicy(c harness.Clients, document string) (ok bool) {
	out, err := c.S3.PutBucketPolicy(w.t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String(trail), Policy: &document})
	return w.ledger.note("PutBucketPolicy", true, meta(out, func() middleware.Metadata { return out.ResultMetadata }), err, nil) && err == nil
}
