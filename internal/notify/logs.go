package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Attributes of a message to a log group.
const (
	AttrLogGroup  = "logGroup"  // ARN
	AttrLogStream = "logStream" // name
)

// MaxLogEvent is the largest record that CloudTrail sends to CloudWatch Logs
// (CloudTrail user guide, "Sending events to CloudWatch Logs").
const MaxLogEvent = 256 << 10

// LogStream is the stream that CloudTrail writes a region's records to.
func LogStream(account, region string) string { return account + "_CloudTrail_" + region }

// logSink takes what goes to one log group: a file or an endpoint.
type logSink struct {
	group string // name
	file  *sharedFile
	http  *logsClient
	now   func() time.Time
}

// sharedFile is a file that several log groups may name.
type sharedFile struct {
	mu sync.Mutex
	appendFile
}

func newLogSink(g *LogGroup, files map[string]*sharedFile, now func() time.Time) (*logSink, error) {
	s := &logSink{group: LogGroupName(g.ARN), now: now}
	if g.File != "" {
		if files[g.File] == nil {
			files[g.File] = &sharedFile{appendFile: appendFile{name: g.File, mode: 0o600}}
		}
		s.file = files[g.File]
		// A file that cannot be written is the operator's mistake: better a server
		// that does not start than records that go nowhere.
		return s, s.file.append(nil)
	}
	var err error
	s.http, err = newLogsClient(g, s.group, now)
	return s, err
}

func (s *logSink) close() error {
	if s.file != nil {
		s.file.mu.Lock()
		defer s.file.mu.Unlock()
		return s.file.close()
	}
	s.http.client.CloseIdleConnections()
	return nil
}

// logLine is an event as CloudWatch Logs' FilterLogEvents shows it, with the
// group beside it; a file may hold several.
type logLine struct {
	LogGroup      string `json:"logGroup"`
	LogStream     string `json:"logStream"`
	Timestamp     int64  `json:"timestamp"`
	Message       string `json:"message"`
	IngestionTime int64  `json:"ingestionTime"`
	EventID       string `json:"eventId"`
}

// send is one attempt for messages of this group.
func (s *logSink) send(ctx context.Context, batch []Message) error {
	if s.http != nil {
		return s.http.send(ctx, batch)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for i := range batch {
		m := &batch[i]
		if err := e.Encode(logLine{s.group, m.Attributes[AttrLogStream], m.Time.UnixMilli(), string(m.Body), s.now().UnixMilli(), m.ID}); err != nil {
			return fmt.Errorf("encoding a log event: %w", errors.Join(err, ErrPermanent))
		}
	}
	s.file.mu.Lock()
	defer s.file.mu.Unlock()
	return s.file.append(b.Bytes())
}

// LogSender sends messages to the log group that their attributes name.
func (m *Manager) LogSender() Sender { return logSender{m} }

type logSender struct{ m *Manager }

// Send implements Sender. A batch is for one group.
func (s logSender) Send(ctx context.Context, batch []Message) error {
	sink := s.m.groups[LogGroupID(batch[0].Attributes[AttrLogGroup])]
	if sink == nil {
		return fmt.Errorf("log group %s: %w", batch[0].Attributes[AttrLogGroup], ErrNotDeclared)
	}
	return sink.send(ctx, batch)
}

// Close implements Sender; the sinks outlive it.
func (logSender) Close() error { return nil }
