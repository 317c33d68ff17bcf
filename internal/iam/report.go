package iam

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/kv"
)

// reportAge is how long a credential report serves before a new one is made
// (IAM user guide, "Getting credential reports").
const reportAge = 4 * time.Hour

// credentialReport is the last report of an account, as it is stored.
type credentialReport struct {
	Version   int       `json:"v"`
	Generated time.Time `json:"generated"`
	Content   []byte    `json:"content"`
}

// report reads the account's report; nil when there is none.
func (d *Directory) report(account string) (*credentialReport, error) {
	value, err := d.store.Get(stateKey(tableReport, account, ""))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the credential report: %w", err)
	}
	r := &credentialReport{}
	return r, decode(value, r, &r.Version)
}

// generateReport makes a report unless there is a recent one. AWS takes a
// while; here it is complete when the call is, and the next call says so.
func (s *api) generateReport(c *call.Call, _ *sdk.GenerateCredentialReportInput) (*sdk.GenerateCredentialReportOutput, error) {
	c.Tx.Lock(&s.d.mu)
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	old, err := s.d.report(c.AccountID)
	if err != nil {
		return nil, err
	}
	now := s.d.wholeSecond()
	why := "No report exists. Starting a new report generation task"
	if old != nil {
		if now.Sub(old.Generated) < reportAge {
			return &sdk.GenerateCredentialReportOutput{State: types.ReportStateTypeComplete}, nil
		}
		why = "The report is out of date. Starting a new report generation task"
	}
	content, err := s.d.writeReport(a)
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(credentialReport{Version: entityVersion, Generated: now, Content: content})
	if err != nil {
		return nil, fmt.Errorf("encoding the credential report: %w", err)
	}
	c.Tx.Set(stateKey(tableReport, c.AccountID, ""), value)
	return &sdk.GenerateCredentialReportOutput{State: types.ReportStateTypeStarted, Description: &why}, nil
}

func (s *api) getReport(c *call.Call, _ *sdk.GetCredentialReportInput) (*sdk.GetCredentialReportOutput, error) {
	r, err := s.d.report(c.AccountID)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, fail(aws.Invalid, http.StatusGone, "ReportNotPresent", "No report exists. Use GenerateCredentialReport to make one.")
	case s.d.now().Sub(r.Generated) >= reportAge:
		return nil, fail(aws.Invalid, http.StatusGone, "ReportExpired", "The most recent credential report has expired. Use GenerateCredentialReport to make a new one.")
	}
	return &sdk.GetCredentialReportOutput{Content: r.Content, ReportFormat: types.ReportFormatTypeTextCsv, GeneratedTime: new(r.Generated)}, nil
}

// reportColumns are the report's (IAM user guide, "Understanding the report
// format").
func reportColumns() []string {
	return []string{"user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed", "password_next_rotation",
		"mfa_active", "access_key_1_active", "access_key_1_last_rotated", "access_key_1_last_used_date", "access_key_1_last_used_region",
		"access_key_1_last_used_service", "access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date",
		"access_key_2_last_used_region", "access_key_2_last_used_service", "cert_1_active", "cert_1_last_rotated", "cert_2_active", "cert_2_last_rotated"}
}

const (
	notApplicable = "N/A"
	notSupported  = "not_supported"
	noInformation = "no_information"
)

func reportTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05-07:00") }

// writeReport writes the account's report: root first, then users by name.
func (d *Directory) writeReport(a *account) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows := [][]string{reportColumns(), d.reportRow("<root_account>", a.rootARN(), a.settings.Created, a.settings.RootKeys,
		[]string{notSupported, noInformation, notSupported, notSupported})}
	for _, k := range sortedKeys(a.users) {
		u := a.users[k]
		password := []string{"false", notApplicable, notApplicable, notApplicable}
		if u.Login != nil {
			password = []string{"true", noInformation, reportTime(u.Login.Changed), notApplicable}
			if !u.PasswordLastUsed.IsZero() {
				password[1] = reportTime(u.PasswordLastUsed)
			}
			if end := a.settings.PasswordPolicy.expiry(u.Login); !end.IsZero() {
				password[3] = reportTime(end)
			}
		}
		rows = append(rows, d.reportRow(u.Name, a.userARN(u), u.Created, u.Keys, password))
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("writing the credential report: %w", err)
	}
	return b.Bytes(), nil
}

func (d *Directory) reportRow(name, arn string, created time.Time, keys []accessKey, password []string) []string {
	row := append([]string{name, arn, reportTime(created)}, password...)
	row = append(row, "false") // no MFA devices here
	for i := range maxKeysPerUser {
		if i >= len(keys) {
			row = append(row, "false", notApplicable, notApplicable, notApplicable, notApplicable)
			continue
		}
		k := &keys[i]
		used := []string{notApplicable, notApplicable, notApplicable}
		if l := d.lastUse(k.ID); l != nil {
			used = []string{reportTime(l.At), l.Region, l.Service}
		}
		row = append(append(row, strconv.FormatBool(!k.Inactive), reportTime(k.Created)), used...)
	}
	return append(row, "false", notApplicable, "false", notApplicable) // nor signing certificates
}
