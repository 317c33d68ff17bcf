package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"spoor/internal/aws"
	"spoor/internal/awshttp"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/record"
)

// tailStep is the call of somebody who begins to watch the records: it needs
// the right to look events up and is recorded itself.
type tailStep struct{ after string }

func (t *tailStep) Permissions(_ *call.Call, dst []call.Permission) ([]call.Permission, error) {
	return append(dst, call.Permission{Action: "cloudtrail:LookupEvents", Resource: "*"}), nil
}
func (t *tailStep) Handle(context.Context, *call.Call) error { return nil }
func (t *tailStep) Events() int                              { return 1 }
func (t *tailStep) Category(int) record.Category             { return record.Management }
func (t *tailStep) External() bool                           { return false }
func (t *tailStep) Describe(_ *call.Call, _ int, _ error, r *record.Record) {
	r.EventSource, r.EventName, r.ReadOnly = "cloudtrail.amazonaws.com", "TailEvents", true
	r.RequestParameters = append(append(r.RequestParameters[:0], `{"after":`...), record.AppendString(nil, t.after)...)
	r.RequestParameters = append(r.RequestParameters, '}')
}

// tail streams the records of the caller's account as JSON lines, each with its
// sequence number: those after ?after=N, or from now on. A client that reads
// slowly is simply behind; nothing waits for it.
func (s *Server) tail(w http.ResponseWriter, r *http.Request) {
	id, err := s.auth.Authenticate(r, nil, "cloudtrail", false)
	if err == nil {
		c := awshttp.NewCall(r, s.path.Now(), s.cfg.Region)
		c.Caller, c.AccountID = id.Caller, id.Caller.AccountID
		if id.Region != "" {
			c.Region = id.Region
		}
		err = s.path.Run(r.Context(), c, &tailStep{r.URL.Query().Get("after")})
	}
	after := s.journal.Head()
	if text := r.URL.Query().Get("after"); err == nil && text != "" {
		var perr error
		if after, perr = strconv.ParseUint(text, 10, 64); perr != nil {
			err = aws.NewError(aws.Invalid, "ValidationException", "after is a sequence number")
		}
	}
	if err != nil {
		e := aws.AsError(err)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(e.HTTPStatus())
		body, merr := json.Marshal(map[string]string{"__type": e.Code, "message": e.Message})
		if merr == nil {
			_, _ = w.Write(body) // a client that is gone needs no answer
		}
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	s.follow(r.Context(), w, id.Caller.AccountID, after)
}

func (s *Server) follow(ctx context.Context, w http.ResponseWriter, account string, after uint64) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.tails, cancel)()
	flush := http.NewResponseController(w)
	for {
		head, err := s.journal.Wait(ctx, after)
		if err != nil {
			return // the client has gone, or the server stops
		}
		err = s.journal.Read(after, head, func(it journal.Item) (bool, error) {
			after = it.Seq
			if it.Field(record.FieldAccount) != account {
				return true, nil
			}
			_, err := fmt.Fprintf(w, "{\"seq\":%d,\"event\":%s}\n", it.Seq, it.JSON)
			return true, err
		})
		if err == nil {
			err = flush.Flush()
		}
		if err != nil {
			s.log.Debug("a tail ended", "err", err)
			return
		}
	}
}
