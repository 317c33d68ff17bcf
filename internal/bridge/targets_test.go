package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kfake"

	"spoor/internal/notify"
	"spoor/internal/record"
)

var peers = map[string]func(t *testing.T) peer{
	"webhook":   newWebhookPeer,
	"queue":     func(t *testing.T) peer { return newQueuePeer(t, "events") },
	"fifo":      func(t *testing.T) peer { return newQueuePeer(t, "events.fifo") },
	"kafka":     func(t *testing.T) peer { return newKafkaPeer(t) },
	"jetstream": func(t *testing.T) peer { return newNATSPeer(t, true) },
	"nats":      func(t *testing.T) peer { return newNATSPeer(t, false) },
}

func ruleFor(target string) string {
	return `[{"name":"r","eventPattern":{"source":["aws.athena"]},"targets":[` + target + `]}]`
}

// impatient is a context for attempts that must fail by their time.
func impatient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestTargets brings events to every kind of target, through both halves of
// each fault: not taken, and taken but reported failed; and through a crash
// between the acknowledgement and the cursor.
func TestTargets(t *testing.T) {
	t.Parallel()
	for name, newPeer := range peers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := newWorld(t), newPeer(t)
			rules := ruleFor(p.target(secrets(t)))
			l := w.loops(t, rules)[0]
			var want []string
			add := func(n int) {
				for range n {
					want = append(want, nameID(accountID, w.add(t, record.Record{})))
				}
			}
			add(3)
			w.drain(t, l)
			checkOnce(t, p.got(t), want, 1)

			p.refuse(true)
			if name == "jetstream" || name == "nats" {
				_ = l.Sender.Close() // they hold their connection
			}
			add(12)
			if _, err := w.attempt(impatient(t), t, l); err == nil {
				t.Fatal("an attempt succeeded that was refused")
			}
			checkOnce(t, p.got(t), want[:3], 1)
			p.refuse(false)
			w.drain(t, l)
			checkOnce(t, p.got(t), want, 1)

			p.lose(true)
			add(2)
			if _, err := w.attempt(impatient(t), t, l); err == nil {
				t.Fatal("an attempt succeeded whose answer was lost")
			}
			p.lose(false)
			w.drain(t, l)
			checkOnce(t, p.got(t), want, 2)

			// A crash before the cursor is written: the same again, by the same ids.
			add(2)
			batch, err := l.Source.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Sender.Send(t.Context(), batch.Messages); err != nil {
				t.Fatal(err)
			}
			w.restart(t)
			l = w.loops(t, rules)[0]
			w.drain(t, l)
			got := p.got(t)
			checkOnce(t, got, want, 3)
			ids := map[string]string{}
			for _, r := range got {
				event := eventID(t, r)
				if id := ids[event]; id != "" && id != r.headers[headerID] {
					t.Errorf("a repetition of %s has another id", event)
				}
				ids[event] = r.headers[headerID]
				checkSignature(t, r)
			}
		})
	}
}

func eventID(t *testing.T, r received) string {
	t.Helper()
	var event struct{ ID string }
	if err := json.Unmarshal([]byte(r.body), &event); err != nil {
		t.Fatal(err)
	}
	return event.ID
}

// checkOnce checks that every event arrived, at most so often, in order at its
// first time, and nothing else did.
func checkOnce(t *testing.T, got []received, want []string, most int) {
	t.Helper()
	times := map[string]int{}
	var first []string
	for _, r := range got {
		id := eventID(t, r)
		if times[id]++; times[id] == 1 {
			first = append(first, id)
		}
		if times[id] > most {
			t.Errorf("%s arrived %d times", id, times[id])
		}
	}
	if !slices.Equal(first, want) {
		t.Errorf("arrived %d events, in this order:\n%v\nwant %d:\n%v", len(first), first, len(want), want)
	}
}

func checkSignature(t *testing.T, r received) {
	t.Helper()
	key, err := decodeKey(testKey)
	if err != nil {
		t.Fatal(err)
	}
	h := r.headers
	if want := "v1," + sign(key, h[headerID], h[headerTimestamp], []byte(r.body)); h[headerSignature] != want {
		t.Errorf("the signature is %q, want %q", h[headerSignature], want)
	}
	at, err := strconv.ParseInt(h[headerTimestamp], 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)) > time.Hour {
		t.Errorf("the timestamp is %q", h[headerTimestamp])
	}
}

func TestKafkaRecord(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), newKafkaPeer(t)
	key, _ := secrets(t)
	l := w.loops(t, ruleFor(p.target(key, "")))[0]
	w.add(t, record.Record{Region: "eu-west-1"})
	w.drain(t, l)
	h := p.got(t)[0].headers
	for name, want := range map[string]string{"key": accountID + "/eu-west-1", "rule": "r", "source": "aws.athena", "region": "eu-west-1",
		"detail-type": "AWS API Call via CloudTrail", "event-name": "StartQueryExecution"} {
		if h[name] != want {
			t.Errorf("%s is %q, want %q", name, h[name], want)
		}
	}
}

func TestKafkaLogin(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := newKafkaPeer(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "alice", "queue-secret"))
			key, secret := secrets(t)
			p.options = fmt.Sprintf(`,"sasl":%q,"user":"alice","passwordFile":%q`, mechanism, secret)
			l := w.loops(t, ruleFor(p.target(key, "")))[0]
			w.add(t, record.Record{})
			w.drain(t, l)
			if err := os.WriteFile(secret, []byte("wrong"), 0o600); err != nil {
				t.Fatal(err)
			}
			_ = l.Sender.Close()
			w.add(t, record.Record{})
			if _, err := w.attempt(impatient(t), t, l); err == nil {
				t.Error("a wrong password is taken")
			}
		})
	}
}

// TestQueuePartial has a queue take some of a batch: only the rest is sent
// again.
func TestQueuePartial(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), newQueuePeer(t, "events")
	l := w.loops(t, ruleFor(p.target(secrets(t))))[0]
	var want []string
	for range 10 {
		want = append(want, nameID(accountID, w.add(t, record.Record{})))
	}
	p.partial = func(i int) (string, bool, bool) {
		switch i {
		case 2:
			return "InternalError", false, false
		case 5:
			return "com.amazonaws.sqs#InvalidMessageContents", true, false
		}
		return "", false, i == 7
	}
	if _, err := w.attempt(t.Context(), t, l); err == nil || !strings.Contains(err.Error(), "InternalError") {
		t.Fatalf("the attempt: %v", err)
	}
	if got := next(t, l); len(got) != 2 {
		t.Errorf("%d messages are still owed, want 2", len(got))
	}
	p.partial = nil
	w.drain(t, l)
	got := map[string]int{}
	for _, r := range p.got(t) {
		got[eventID(t, r)]++
	}
	for i, id := range want {
		if n := got[id]; (n != 1) != (i == 5) {
			t.Errorf("message %d arrived %d times", i, n)
		}
	}
	dead, err := os.ReadFile(w.dead.Name())
	if err != nil || strings.Count(string(dead), "\n") != 1 || !strings.Contains(string(dead), want[5]) {
		t.Errorf("dead letters: %v\n%s", err, dead)
	}
}

// TestQueueSize has events that together are more than one request holds.
func TestQueueSize(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), newQueuePeer(t, "events")
	l := w.loops(t, ruleFor(p.target(secrets(t))))[0]
	var want []string
	for range 7 {
		want = append(want, nameID(accountID, w.add(t, record.Record{RequestParameters: []byte(`{"x":"` + strings.Repeat("y", 90<<10) + `"}`)})))
	}
	w.drain(t, l)
	checkOnce(t, p.got(t), want, 1)
	if p.requests < 3 {
		t.Errorf("%d requests", p.requests)
	}
}

// TestPermanent has a webhook refuse an event for good: it goes to the dead
// letters, and what is behind it arrives. The loop is the real one.
func TestPermanent(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), newWebhookPeer(t).(*webhookPeer)
	l := w.loops(t, ruleFor(p.target(secrets(t))))[0]
	p.refusing, p.status = true, 422
	refused := nameID(accountID, w.add(t, record.Record{}))
	if _, err := w.attempt(t.Context(), t, l); !errors.Is(err, notify.ErrPermanent) {
		t.Fatalf("422: %v", err)
	}
	m := w.manage(t, l)
	defer m.end(t)
	m.until(t, func() bool { return m.lines(t) == 1 })
	p.refuse(false)
	taken := nameID(accountID, w.add(t, record.Record{}))
	m.until(t, func() bool { return len(p.got(t)) == 1 })
	checkOnce(t, p.got(t), []string{taken}, 1)
	if dead, err := os.ReadFile(m.dead); err != nil || !strings.Contains(string(dead), refused) {
		t.Errorf("dead letters: %v\n%s", err, dead)
	}
}

// TestStreamTooLarge has a stream that takes no large messages: what is around
// one arrives.
func TestStreamTooLarge(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), newNATSPeer(t, true)
	if _, err := p.js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "TRAIL", Subjects: []string{"trail.>"},
		Storage: jetstream.MemoryStorage, MaxMsgSize: 4096}); err != nil {
		t.Fatal(err)
	}
	l := w.loops(t, ruleFor(p.target(secrets(t))))[0]
	before := nameID(accountID, w.add(t, record.Record{}))
	large := nameID(accountID, w.add(t, record.Record{RequestParameters: []byte(`{"x":"` + strings.Repeat("y", 8000) + `"}`)}))
	behind := nameID(accountID, w.add(t, record.Record{}))
	w.drain(t, l)
	checkOnce(t, p.got(t), []string{before, behind}, 1)
	if dead, err := os.ReadFile(w.dead.Name()); err != nil || !strings.Contains(string(dead), large) {
		t.Errorf("dead letters: %v\n%s", err, dead)
	}
}

// TestHung has targets of every kind that never answer, and one that does; the
// end waits for none of them.
func TestHung(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	silent := listen(t) // nobody accepts
	defer silent.Close()
	p := newWebhookPeer(t)
	key, secret := secrets(t)
	at := silent.Addr().String()
	loops := w.loops(t, ruleFor(strings.Join([]string{
		fmt.Sprintf(`{"webhook":{"url":"http://%s/"}}`, at), fmt.Sprintf(`{"sqs":{"url":"http://%s/1/q"}}`, at),
		fmt.Sprintf(`{"kafka":{"brokers":[%q],"topic":"t"}}`, at), fmt.Sprintf(`{"nats":{"url":"nats://%s","subject":"s"}}`, at),
		p.target(key, secret)}, ",")))
	m := w.manage(t, loops...)
	var want []string
	for range 50 {
		want = append(want, nameID(accountID, w.add(t, record.Record{})))
	}
	m.until(t, func() bool { return len(p.got(t)) >= 50 })
	checkOnce(t, p.got(t), want, 1)
	stop := time.Now()
	m.end(t)
	if took := time.Since(stop); took > 3*time.Second {
		t.Errorf("the end took %s", took)
	}
}

// managed is a notify.Manager with loops.
type managed struct {
	dead string
	stop context.CancelFunc
	done chan error
}

func (w *world) manage(t *testing.T, loops ...*notify.Loop) *managed {
	t.Helper()
	out := &managed{dead: w.dead.Name(), done: make(chan error, 1)}
	m, err := notify.Open(notify.Config{DeadLetters: out.dead, Store: w.store, Commit: w.journal, Log: quiet, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range loops {
		m.Add(l)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out.stop = cancel
	go func() { out.done <- m.Run(ctx) }()
	return out
}

func (m *managed) end(t *testing.T) {
	t.Helper()
	m.stop()
	if err := <-m.done; err != nil {
		t.Error(err)
	}
}

func (m *managed) lines(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(m.dead)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

// until waits for what another goroutine brings about.
func (m *managed) until(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}
