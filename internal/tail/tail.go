// Package tail is the live stream of records: what `spoor tail` and whoever
// speaks HTTP watches.
//
// It stands behind the journal as a reader without a durable cursor: a client
// that comes back says after which sequence number it wants to go on. Watching
// is itself a call, which needs a permission and is recorded before the first
// record goes out. A client that reads slowly is simply behind; the recorder
// never waits for it.
package tail

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"spoor/internal/aws"
	"spoor/internal/awshttp"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/record"
)

const (
	// heartbeat is how often a stream says up to where it has come when no record
	// matches, so that a client can resume there and notices a dead connection.
	heartbeat = 15 * time.Second
	// writeTimeout ends the stream of a client that takes nothing for so long.
	writeTimeout = time.Minute
	// flushBytes is how much is written before it is flushed.
	flushBytes = 64 << 10
)

// Config is what a Handler needs.
type Config struct {
	Path    *call.Path
	Auth    awshttp.Authenticator
	Journal *journal.Journal
	Region  string // of calls whose signature names none
	// Done ends all streams: they would hold up an orderly stop.
	Done      context.Context
	Log       *slog.Logger
	Heartbeat time.Duration // 0 means heartbeat
}

// Handler serves GET /_spoor/tail[?after=N][&where=CONDITION...] as JSON lines,
// {"seq":N,"event":{...}} for a record and {"seq":N} for a heartbeat, which
// says that every matching record up to N was sent.
type Handler struct{ cfg Config }

// New makes the handler.
func New(c Config) *Handler {
	if c.Heartbeat == 0 {
		c.Heartbeat = heartbeat
	}
	return &Handler{c}
}

// step is the call of somebody who begins to watch: it needs the right to look
// events up and is recorded.
type step struct{ after, where string }

func (t *step) Permissions(_ *call.Call, dst []call.Permission) ([]call.Permission, error) {
	return append(dst, watching), nil
}

// watching is what a stream needs as long as it lasts.
var watching = call.Permission{Action: "cloudtrail:LookupEvents", Resource: "*"}

func (t *step) Handle(context.Context, *call.Call) error { return nil }
func (t *step) Events() int                              { return 1 }
func (t *step) Category(int) record.Category             { return record.Management }
func (t *step) External() bool                           { return false }
func (t *step) Describe(_ *call.Call, _ int, _ error, r *record.Record) {
	describe(r)
	b := append(r.RequestParameters[:0], `{"after":`...)
	b = record.AppendString(b, t.after)
	b = append(b, `,"where":`...)
	r.RequestParameters = append(append(b, t.where...), '}')
}

func describe(r *record.Record) {
	r.EventSource, r.EventName, r.ReadOnly = "cloudtrail.amazonaws.com", "TailEvents", true
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, after, filter, err := h.begin(r)
	if err != nil {
		e := aws.AsError(err)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(e.HTTPStatus())
		if body, err := json.Marshal(map[string]string{"__type": e.Code, "message": e.Message}); err == nil {
			_, _ = w.Write(body) // a client that is gone needs no answer
		}
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	s := stream{h: h, w: w, control: http.NewResponseController(w), call: c, account: c.AccountID, at: after, filter: filter}
	if err := s.run(r.Context()); err != nil {
		h.cfg.Log.Debug("a tail ended", "err", err)
	}
}

// begin authenticates, authorises and records the call.
func (h *Handler) begin(r *http.Request) (c *call.Call, after uint64, filter Filter, err error) {
	c = awshttp.NewCall(r, h.cfg.Path.Now(), h.cfg.Region)
	id, err := h.cfg.Auth.Authenticate(r, nil, "cloudtrail", false)
	if err != nil {
		var ae *awshttp.AuthError
		if !errors.As(err, &ae) || ae.Claimed == nil {
			return nil, 0, nil, err
		}
		c.Caller, c.AccountID = ae.Claimed, ae.Claimed.AccountID
		return nil, 0, nil, h.cfg.Path.Reject(c, err, describe)
	}
	c.Caller, c.AccountID = id.Caller, id.Caller.AccountID
	if id.Region != "" {
		c.Region = id.Region
	}
	q := r.URL.Query()
	head := h.cfg.Journal.Head()
	after = head
	filter, err = ParseFilter(q["where"])
	if text := q.Get("after"); err == nil && text != "" {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			err = invalid("after is a sequence number")
		} else if after > head {
			// The journal is not the one that gave the number, or lost its end. A
			// stream that waited for the number would pass over what comes until then.
			err = invalid("after is %d, and the newest record is %d: the number comes from another server, or from before a backup was restored", after, head)
		}
	}
	if err != nil {
		return nil, 0, nil, h.cfg.Path.Reject(c, err, describe)
	}
	where, err := json.Marshal(append([]string{}, q["where"]...))
	if err != nil {
		return nil, 0, nil, err
	}
	return c, after, filter, h.cfg.Path.Run(r.Context(), c, &step{q.Get("after"), string(where)})
}

// stream is one client's.
type stream struct {
	h       *Handler
	w       http.ResponseWriter
	control *http.ResponseController
	call    *call.Call
	account string
	filter  Filter
	at      uint64 // read up to here
	buf     []byte
}

func (s *stream) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.h.cfg.Done, cancel)()
	if err := s.flush(ctx); err != nil { // the client sees that it is connected
		return err
	}
	for {
		timed, stop := context.WithTimeout(ctx, s.h.cfg.Heartbeat)
		head, err := s.h.cfg.Journal.Wait(timed, s.at)
		stop()
		switch {
		case ctx.Err() != nil:
			return nil // the client has gone, or the server stops
		case errors.Is(err, context.DeadlineExceeded):
			s.beat()
		case err != nil:
			return err
		default:
			if err := s.read(ctx, head); err != nil {
				return err
			}
		}
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
}

// beat tells how far the stream has come.
func (s *stream) beat() {
	s.buf = append(s.buf, `{"seq":`...)
	s.buf = append(strconv.AppendUint(s.buf, s.at, 10), "}\n"...)
}

func (s *stream) read(ctx context.Context, head uint64) error {
	return s.h.cfg.Journal.Read(s.at, head, func(it journal.Item) (bool, error) {
		s.at = it.Seq
		if it.Is(record.FieldAccount, s.account) {
			ok, err := s.filter.Match(&it)
			if err != nil {
				return false, err
			}
			if ok {
				s.buf = append(s.buf, `{"seq":`...)
				s.buf = append(strconv.AppendUint(s.buf, it.Seq, 10), `,"event":`...)
				s.buf = append(append(s.buf, it.JSON...), "}\n"...)
			}
		}
		if len(s.buf) < flushBytes {
			return true, nil
		}
		return ctx.Err() == nil, s.flush(ctx)
	})
}

// flush sends what has collected. It is the only place that waits for the
// client, and none goes out without asking for the permission again: a stream may
// last for days, and its caller may lose rights, keys or existence meanwhile.
func (s *stream) flush(ctx context.Context) error {
	if err := s.h.cfg.Path.Auth.Authorize(ctx, s.call, []call.Permission{watching}); err != nil {
		return err
	}
	if err := s.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if len(s.buf) > 0 {
		if _, err := s.w.Write(s.buf); err != nil {
			return err
		}
		s.buf = s.buf[:0]
	}
	return s.control.Flush()
}
