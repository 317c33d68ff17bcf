package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"spoor/internal/notify"
)

// webhook posts each event by itself. What an answer means is as for
// EventBridge's API destinations: 2xx is the acknowledgement, and of the client
// errors those are tried again which may pass.
type webhook struct {
	cfg    *Webhook
	client *http.Client
	signer signer
}

func newWebhook(cfg *Webhook, now func() time.Time) (destination, int, error) {
	w := &webhook{cfg: cfg, signer: signer{cfg.HMACKeyFile, now}}
	var err error
	if w.client, err = notify.NewClient(cfg.CA); err != nil {
		return w, 0, err
	}
	if t, ok := w.client.Transport.(*http.Transport); ok {
		t.MaxIdleConnsPerHost = cfg.Concurrency
	}
	if cfg.PasswordFile != "" {
		if _, err := notify.ReadSecret(cfg.PasswordFile); err != nil {
			return w, 0, fmt.Errorf("passwordFile: %w", err)
		}
	}
	return w, cfg.Concurrency, w.signer.check()
}

func (w *webhook) send(ctx context.Context, batch []notify.Message) []error {
	key, err := w.signer.key()
	if err != nil {
		return all(batch, err)
	}
	var password string
	if w.cfg.PasswordFile != "" {
		if password, err = notify.ReadSecret(w.cfg.PasswordFile); err != nil {
			return all(batch, err)
		}
	}
	results := make([]error, len(batch))
	var wg sync.WaitGroup
	for i := range batch {
		wg.Go(func() { results[i] = w.post(ctx, &batch[i], key, password) })
	}
	wg.Wait()
	return results
}

func (w *webhook) post(ctx context.Context, m *notify.Message, key []byte, password string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL, bytes.NewReader(m.Body))
	if err != nil {
		return errors.New("the URL does not make a request") // the error would quote it
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "spoor")
	for _, h := range w.signer.headers(m, key) {
		req.Header.Set(h.name, h.value)
	}
	if w.cfg.User != "" {
		req.SetBasicAuth(w.cfg.User, password)
	}
	_, err = notify.Do(ctx, w.client, req)
	var status *notify.StatusError
	if errors.As(err, &status) && refusedForGood(status.Status) {
		return fmt.Errorf("%w: %w", notify.ErrPermanent, err)
	}
	return err
}

// refusedForGood are the answers after which the same request would get the same
// again. A refused credential and a missing page the operator may put right.
func refusedForGood(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusGone,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

func (w *webhook) close() error {
	w.client.CloseIdleConnections()
	return nil
}
