// Package events tests the rules of --notifications with a server of its own:
// what is recorded arrives at a webhook and in a NATS stream at least once, over
// kills of the server and faults of the webhook.
package events

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"spoor/test/harness"
)

// event is what is looked at of an EventBridge event.
type event struct {
	ID         string
	DetailType string `json:"detail-type"`
	Source     string
	Account    string
	Region     string
	Detail     json.RawMessage
}

func (e event) user(t *testing.T) string {
	t.Helper()
	var d struct {
		EventName         string
		RequestParameters struct{ UserName string }
	}
	if err := json.Unmarshal(e.Detail, &d); err != nil {
		t.Fatal(err)
	}
	if d.EventName != "CreateUser" {
		t.Errorf("the rule lets %s through", d.EventName)
	}
	return d.RequestParameters.UserName
}

// hook takes events and, of each eight posts, loses one's answer and refuses
// one.
type hook struct {
	mu     sync.Mutex
	posts  int
	events []event
	ids    map[string]string // webhook-id by event id
	faults []string
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.posts++
	if h.posts%8 == 1 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		h.faults = append(h.faults, err.Error())
	}
	id := r.Header.Get("webhook-id")
	if was := h.ids[e.ID]; was != "" && was != id {
		h.faults = append(h.faults, "a repetition has another webhook-id")
	}
	if !strings.HasPrefix(r.Header.Get("webhook-signature"), "v1,") {
		h.faults = append(h.faults, "no signature")
	}
	h.ids[e.ID] = id
	h.events = append(h.events, e)
	if h.posts%8 == 5 {
		panic(http.ErrAbortHandler) // taken, and nobody hears of it
	}
}

func (h *hook) users(t *testing.T) map[string]event {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]event{}
	for _, e := range h.events {
		out[e.user(t)] = e
	}
	return out
}

func startNATS(t *testing.T) (url string, stream jetstream.Stream) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	c, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	stream, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "TRAIL", Subjects: []string{"trail.>"}, Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	return s.ClientURL(), stream
}

func TestRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := &hook{ids: map[string]string{}}
	web := httptest.NewServer(h)
	defer web.Close()
	natsURL, stream := startNATS(t)
	settings := fmt.Sprintf(`{"rules":[{"name":"users","account":"123456789012",
		"eventPattern":{"source":["aws.iam"],"detail-type":["AWS API Call via CloudTrail"],
			"detail":{"eventName":["CreateUser"],"errorCode":[{"exists":false}],"requestParameters":{"userName":[{"prefix":"u-"}]}}},
		"targets":[{"webhook":{"url":%q,"hmacKeyFile":"hmac.key"}},{"nats":{"url":%q,"subject":"trail.users","jetstream":true}},
			{"id":"nobody","webhook":{"url":"http://127.0.0.1:1/"}}]}]}`, web.URL, natsURL)
	file := filepath.Join(dir, "notifications.json")
	for name, text := range map[string]string{file: settings, filepath.Join(dir, "hmac.key"): "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := harness.Start(t, "--notifications", file)
	acknowledged := map[string]bool{}
	create := func(name string) error {
		_, err := s.AWS(s.Profiles["admin"]).IAM.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name})
		return err
	}
	for round := range 3 {
		for i := range 4 {
			name := fmt.Sprintf("u-%d-%d", round, i)
			if err := create(name); err != nil {
				t.Fatal(err)
			}
			acknowledged[name] = true
		}
		if create("u-0-0") == nil || create("other") != nil && round == 0 {
			t.Error("calls that the rule passes over have another outcome")
		}
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	until(t, func() bool { return len(h.users(t)) == len(acknowledged) })
	got := h.users(t)
	for name := range acknowledged {
		e, ok := got[name]
		if !ok {
			t.Errorf("%s did not arrive", name)
			continue
		}
		if e.Source != "aws.iam" || e.Account != s.Account || e.Region != "us-east-1" || e.DetailType != "AWS API Call via CloudTrail" {
			t.Errorf("%s: %+v", name, e)
		}
	}
	for _, f := range h.faults {
		t.Error(f)
	}
	sameAsHistory(t, s, got)
	until(t, func() bool { return len(streamed(t, stream)) == len(acknowledged) })
	for name, n := range streamed(t, stream) {
		if n != 1 || !acknowledged[name] {
			t.Errorf("%s is %d times in the stream", name, n)
		}
	}
}

// sameAsHistory compares each event's detail with the record of LookupEvents.
func sameAsHistory(t *testing.T, s *harness.Server, got map[string]event) {
	t.Helper()
	pages := cloudtrail.NewLookupEventsPaginator(s.AWS(s.Profiles["admin"]).CloudTrail, &cloudtrail.LookupEventsInput{
		LookupAttributes: []cttypes.LookupAttribute{{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: new("CreateUser")}}})
	records := map[string]bool{}
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			records[*e.CloudTrailEvent] = true
		}
	}
	for name, e := range got {
		if !records[string(bytes.TrimSpace(e.Detail))] {
			t.Errorf("the detail of %s is no record of event history:\n%s", name, e.Detail)
		}
	}
}

func streamed(t *testing.T, stream jetstream.Stream) map[string]int {
	t.Helper()
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		var e event
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatal(err)
		}
		out[e.user(t)]++
	}
	return out
}

// TestNoSuchPattern has the server refuse to start with AWS's words.
func TestNoSuchPattern(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "n.json")
	if err := os.WriteFile(file, []byte(`{"rules":[{"name":"r","eventPattern":{"source":"x"},"targets":[{"webhook":{"url":"http://h/"}}]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	running := harness.Start(t)
	s := harness.New(running.Binary, t.TempDir()+"/data", "--notifications", file)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := s.Start(ctx)
	if err == nil {
		_ = s.Kill()
		t.Fatal("the server starts")
	}
	if want := `Event pattern is not valid. Reason: "source" must be an object or an array`; !strings.Contains(strings.ReplaceAll(err.Error(), `\`, ""), want) {
		t.Errorf("%v\nwant %s", err, want)
	}
}

func until(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}
