package iam

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"spoor/internal/aws"
	"spoor/internal/call"
)

// loginOperations are about console passwords and the policy that they follow.
func (s *api) loginOperations() []call.Operation {
	return []call.Operation{
		op("CreateLoginProfile", func(c *call.Call, in *sdk.CreateLoginProfileInput) target { return s.onUser(c, in.UserName) }, s.createLogin),
		op("GetLoginProfile", func(c *call.Call, in *sdk.GetLoginProfileInput) target { return s.onUser(c, in.UserName) }, s.getLogin, call.ReadOnly),
		op("UpdateLoginProfile", func(c *call.Call, in *sdk.UpdateLoginProfileInput) target { return s.onUser(c, in.UserName) }, s.updateLogin),
		op("DeleteLoginProfile", func(c *call.Call, in *sdk.DeleteLoginProfileInput) target { return s.onUser(c, in.UserName) }, s.deleteLogin),
		opEach("ChangePassword", func(c *call.Call, _ *sdk.ChangePasswordInput) []call.Permission {
			return []call.Permission{s.ownPassword(c, s.onUser(c, nil).action("iam:ChangePassword"))}
		}, s.changePassword),
		opEach("GetAccountPasswordPolicy", func(c *call.Call, _ *sdk.GetAccountPasswordPolicyInput) []call.Permission {
			return []call.Permission{s.ownPassword(c, target{arn: "*"}.action("iam:GetAccountPasswordPolicy"))}
		}, s.getPasswordPolicy, call.ReadOnly),
		op("UpdateAccountPasswordPolicy", anything, s.updatePasswordPolicy),
		op("DeleteAccountPasswordPolicy", anything, s.deletePasswordPolicy),
	}
}

// ownPassword adds what the password policy grants: with
// AllowUsersToChangePassword every user may change its own password and read
// the policy (IAM user guide, "Permitting IAM users to change their own
// passwords"). It is a grant and no more, so that an explicit deny still denies.
func (s *api) ownPassword(c *call.Call, p call.Permission) call.Permission {
	a := s.d.account(c.AccountID)
	if a == nil || a.settings.PasswordPolicy == nil || !a.settings.PasswordPolicy.AllowChange || c.Caller.Type != aws.IAMUser {
		return p
	}
	arn, err := json.Marshal(c.Caller.ARN)
	if err != nil {
		return p // without the grant the user's own policies decide
	}
	p.ResourcePolicy = fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":%s},"Action":%q,"Resource":"*"}]}`, arn, p.Action)
	return p
}

func sdkLogin(u *user) *types.LoginProfile {
	return &types.LoginProfile{UserName: new(u.Name), CreateDate: new(u.Login.Created), PasswordResetRequired: u.Login.ResetRequired}
}

// concurrent answers a call whose ground changed while it was at work.
func concurrent() *aws.Error {
	return fail(aws.Conflict, http.StatusConflict, "ConcurrentModification", "The login profile was changed by another call at the same time. Try again.")
}

func loginExists(u *user) error {
	return alreadyExists("Login Profile for user %s already exists.", u.Name)
}

func (s *api) createLogin(c *call.Call, in *sdk.CreateLoginProfileInput) (*sdk.CreateLoginProfileOutput, error) {
	a, u, err := s.user(c, in.UserName)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Login != nil:
		return nil, loginExists(u)
	case in.Password == nil:
		return nil, validationError("1 validation error detected: Value null at 'password' failed to satisfy constraint: Member must not be null")
	}
	if err := a.checkPassword(*in.Password); err != nil {
		return nil, err
	}
	login, err := s.d.newLogin(*in.Password)
	if err != nil {
		return nil, err
	}
	login.ResetRequired = in.PasswordResetRequired
	out := &sdk.CreateLoginProfileOutput{}
	err = s.changeUser(c, in.UserName, func(_ *change, u *user) error {
		if u.Login != nil {
			return loginExists(u)
		}
		u.Login = login
		out.LoginProfile = sdkLogin(u)
		return nil
	})
	return out, err
}

func (s *api) getLogin(c *call.Call, in *sdk.GetLoginProfileInput) (*sdk.GetLoginProfileOutput, error) {
	_, u, err := s.user(c, in.UserName)
	if err != nil {
		return nil, err
	}
	if u.Login == nil {
		return nil, noLogin(u.Name)
	}
	return &sdk.GetLoginProfileOutput{LoginProfile: sdkLogin(u)}, nil
}

func (s *api) deleteLogin(c *call.Call, in *sdk.DeleteLoginProfileInput) (*sdk.DeleteLoginProfileOutput, error) {
	err := s.changeUser(c, in.UserName, func(_ *change, u *user) error {
		if u.Login == nil {
			return noLogin(u.Name)
		}
		u.Login = nil
		return nil
	})
	return &sdk.DeleteLoginProfileOutput{}, err
}

func (s *api) updateLogin(c *call.Call, in *sdk.UpdateLoginProfileInput) (*sdk.UpdateLoginProfileOutput, error) {
	a, u, err := s.user(c, in.UserName)
	if err != nil {
		return nil, err
	}
	if u.Login == nil {
		return nil, noLogin(u.Name)
	}
	var hash []byte
	if in.Password != nil {
		if hash, err = a.nextPassword(u.Login, *in.Password); err != nil {
			return nil, err
		}
	}
	err = s.setPassword(c, u, hash, func(l *loginProfile) {
		if in.PasswordResetRequired != nil {
			l.ResetRequired = *in.PasswordResetRequired
		}
	})
	return &sdk.UpdateLoginProfileOutput{}, err
}

// nextPassword checks a password that is to follow a profile's and hashes it.
func (a *account) nextPassword(l *loginProfile, password string) ([]byte, error) {
	if err := a.checkPassword(password); err != nil {
		return nil, err
	}
	hash, err := hashPassword(password, l.Salt, l.Iterations)
	if err != nil {
		return nil, err
	}
	if p := a.settings.PasswordPolicy; p != nil && l.usedBefore(hash, p.ReusePrevention) {
		return nil, weakPassword("Password should not be one of the last %d passwords", p.ReusePrevention)
	}
	return hash, nil
}

// setPassword keeps a password that was derived while no lock was held. It
// fails when the profile is no longer the one that it was derived for.
func (s *api) setPassword(c *call.Call, seen *user, hash []byte, also func(l *loginProfile)) error {
	return s.changeUser(c, &seen.Name, func(_ *change, u *user) error {
		if u.ID != seen.ID || u.Login == nil || !bytes.Equal(u.Login.Salt, seen.Login.Salt) || !bytes.Equal(u.Login.Hash, seen.Login.Hash) {
			return concurrent()
		}
		if hash != nil {
			u.Login.replace(hash, s.d.wholeSecond())
		}
		also(u.Login)
		return nil
	})
}

// changePassword is a user's change of its own password.
func (s *api) changePassword(c *call.Call, in *sdk.ChangePasswordInput) (*sdk.ChangePasswordOutput, error) {
	if c.Caller.Type != aws.IAMUser {
		return nil, fail(aws.Invalid, http.StatusBadRequest, "InvalidUserType", "Only IAM Users can change their own password")
	}
	a, u, err := s.user(c, nil)
	if err != nil {
		return nil, err
	}
	if u.Login == nil {
		return nil, noLogin(u.Name)
	}
	old, err := hashPassword(str(in.OldPassword), u.Login.Salt, u.Login.Iterations)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(old, u.Login.Hash) != 1 {
		return nil, fail(aws.Denied, http.StatusForbidden, "AccessDenied", "The old password was incorrect.")
	}
	p := a.settings.PasswordPolicy
	if end := p.expiry(u.Login); !end.IsZero() && p.HardExpiry != nil && *p.HardExpiry && !s.d.now().Before(end) {
		return nil, fail(aws.Denied, http.StatusForbidden, "AccessDenied", "The password has expired and must be reset by an administrator.")
	}
	hash, err := a.nextPassword(u.Login, str(in.NewPassword))
	if err != nil {
		return nil, err
	}
	err = s.setPassword(c, u, hash, func(l *loginProfile) { l.ResetRequired = false })
	return &sdk.ChangePasswordOutput{}, err
}

func (s *api) getPasswordPolicy(c *call.Call, _ *sdk.GetAccountPasswordPolicyInput) (*sdk.GetAccountPasswordPolicyOutput, error) {
	a, err := s.account(c)
	if err != nil {
		return nil, err
	}
	p := a.settings.PasswordPolicy
	if p == nil {
		return nil, noSuchEntity("The Password Policy with domain name %s cannot be found.", a.settings.ID)
	}
	out := &types.PasswordPolicy{MinimumPasswordLength: new(p.MinimumLength), RequireSymbols: p.Symbols, RequireNumbers: p.Numbers,
		RequireUppercaseCharacters: p.Uppercase, RequireLowercaseCharacters: p.Lowercase, AllowUsersToChangePassword: p.AllowChange,
		ExpirePasswords: p.MaxAge > 0, HardExpiry: p.HardExpiry}
	if p.MaxAge > 0 {
		out.MaxPasswordAge = new(p.MaxAge)
	}
	if p.ReusePrevention > 0 {
		out.PasswordReusePrevention = new(p.ReusePrevention)
	}
	return &sdk.GetAccountPasswordPolicyOutput{PasswordPolicy: out}, nil
}

// minimumLength is what a password policy asks for when it does not say (IAM
// API, UpdateAccountPasswordPolicy).
const minimumLength = 6

// updatePasswordPolicy sets the whole policy: what is not given gets its
// default, not what it was.
func (s *api) updatePasswordPolicy(c *call.Call, in *sdk.UpdateAccountPasswordPolicyInput) (*sdk.UpdateAccountPasswordPolicyOutput, error) {
	p := &passwordPolicy{MinimumLength: minimumLength, Symbols: in.RequireSymbols, Numbers: in.RequireNumbers, Uppercase: in.RequireUppercaseCharacters,
		Lowercase: in.RequireLowercaseCharacters, AllowChange: in.AllowUsersToChangePassword, HardExpiry: in.HardExpiry}
	if in.MinimumPasswordLength != nil {
		p.MinimumLength = *in.MinimumPasswordLength
	}
	if in.MaxPasswordAge != nil {
		p.MaxAge = *in.MaxPasswordAge
	}
	if in.PasswordReusePrevention != nil {
		p.ReusePrevention = *in.PasswordReusePrevention
	}
	err := s.changeSettings(c, func(_ *change, next *settings) error {
		next.PasswordPolicy = p
		return nil
	})
	return &sdk.UpdateAccountPasswordPolicyOutput{}, err
}

func (s *api) deletePasswordPolicy(c *call.Call, _ *sdk.DeleteAccountPasswordPolicyInput) (*sdk.DeleteAccountPasswordPolicyOutput, error) {
	err := s.changeSettings(c, func(_ *change, next *settings) error {
		if next.PasswordPolicy == nil {
			return noSuchEntity("The account policy with name PasswordPolicy cannot be found.")
		}
		next.PasswordPolicy = nil
		return nil
	})
	return &sdk.DeleteAccountPasswordPolicyOutput{}, err
}
