package notify

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/xml"
	"net/http"
)

func encodeBase64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// snsNamespace is the XML namespace of SNS's API, 2010-03-31.
const snsNamespace = "http://sns.amazonaws.com/doc/2010-03-31/"

type confirmResponse struct {
	XMLName         xml.Name `xml:"ConfirmSubscriptionResponse"`
	Namespace       string   `xml:"xmlns,attr"`
	SubscriptionARN string   `xml:"ConfirmSubscriptionResult>SubscriptionArn"`
	RequestID       string   `xml:"ResponseMetadata>RequestId"`
}

type snsErrorResponse struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Namespace string   `xml:"xmlns,attr"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// ServeConfirm answers the SubscribeURL of a subscription confirmation: who has
// its token confirms that the endpoint wants the messages.
func (m *Manager) ServeConfirm(w http.ResponseWriter, r *http.Request) {
	topic, token := r.URL.Query().Get("TopicArn"), r.URL.Query().Get("Token")
	for _, s := range m.subscriptions {
		if s.topic.ARN != topic || !s.topic.Confirm {
			continue
		}
		ok, err := s.confirm(token)
		switch {
		case err != nil:
			m.cfg.Log.Error("a confirmation cannot be kept", "target", s.target, "err", err)
			writeXML(w, http.StatusInternalServerError, snsError("Receiver", "InternalError", "The confirmation cannot be kept."))
			return
		case ok:
			m.cfg.Log.Info("an endpoint confirmed its subscription", "target", s.target)
			writeXML(w, http.StatusOK, confirmResponse{Namespace: snsNamespace, SubscriptionARN: s.arn, RequestID: NewID()})
			return
		}
	}
	writeXML(w, http.StatusBadRequest, snsError("Sender", "InvalidParameter", "Invalid parameter: Token"))
}

// confirm notes that the endpoint confirmed, if token is what it was sent.
func (s *subscription) confirm(token string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Token == "" || subtle.ConstantTimeCompare([]byte(s.state.Token), []byte(token)) != 1 {
		return false, nil
	}
	if s.state.Confirmed {
		return true, nil
	}
	state := s.state
	state.Confirmed = true
	if err := s.save(state); err != nil {
		return false, err
	}
	select {
	case s.ready <- struct{}{}:
	default:
	}
	return true, nil
}

// ServeUnsubscribe answers an UnsubscribeURL: who may end a subscription is the
// operator, in the settings file, as a topic's owner alone may when its
// subscription is authenticated.
func (m *Manager) ServeUnsubscribe(w http.ResponseWriter, _ *http.Request) {
	writeXML(w, http.StatusForbidden, snsError("Sender", "AuthorizationError",
		"This subscription can only be ended in the settings file that --notifications names."))
}

func snsError(kind, code, message string) snsErrorResponse {
	return snsErrorResponse{Namespace: snsNamespace, Type: kind, Code: code, Message: message, RequestID: NewID()}
}

func writeXML(w http.ResponseWriter, status int, v any) {
	body, err := xml.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone needs no answer
}
