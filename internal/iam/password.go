package iam

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// A console password is what a human chose, so its hash is PBKDF2 and slow. It
// is derived before the directory's lock is taken, never under it.

// maxEarlier is how many passwords are kept to forbid them again; a password
// policy cannot ask for more (IAM API, UpdateAccountPasswordPolicy).
const maxEarlier = 24

// passwordSymbols count as symbols in a password policy (IAM user guide, "Set
// an account password policy for IAM users").
const passwordSymbols = `!@#$%^&*()_+-=[]{}|'`

// hashPassword derives a password's hash.
func hashPassword(password string, salt []byte, iterations int) ([]byte, error) {
	h, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving a password's hash: %w", err)
	}
	return h, nil
}

// newLogin makes a login profile for a password.
func (d *Directory) newLogin(password string) (*loginProfile, error) {
	now := d.wholeSecond()
	l := &loginProfile{Created: now, Changed: now, Salt: random(saltSize), Iterations: d.iterations}
	var err error
	l.Hash, err = hashPassword(password, l.Salt, l.Iterations)
	return l, err
}

// replace makes hash the password. The one before joins the earlier ones.
func (l *loginProfile) replace(hash []byte, now time.Time) {
	l.Earlier = append([][]byte{l.Hash}, l.Earlier...)
	if len(l.Earlier) > maxEarlier {
		l.Earlier = l.Earlier[:maxEarlier]
	}
	l.Hash, l.Changed = hash, now
}

// usedBefore reports whether hash is one of the last n passwords, the current
// one included.
func (l *loginProfile) usedBefore(hash []byte, n int32) bool {
	if n <= 0 {
		return false
	}
	used := subtle.ConstantTimeCompare(l.Hash, hash)
	for i, h := range l.Earlier {
		if i+1 < int(n) {
			used |= subtle.ConstantTimeCompare(h, hash)
		}
	}
	return used == 1
}

// expiry is when a password must be changed; zero for never.
func (p *passwordPolicy) expiry(l *loginProfile) time.Time {
	if p == nil || p.MaxAge == 0 {
		return time.Time{}
	}
	return l.Changed.AddDate(0, 0, int(p.MaxAge))
}

// checkPassword holds a password against the account's policy, or against
// IAM's own when the account has none: eight characters, three of the four
// kinds, and not the account's name (IAM user guide, "Default password policy").
func (a *account) checkPassword(password string) error {
	var upper, lower, number, symbol bool
	for _, r := range password {
		switch {
		case r >= 'A' && r <= 'Z':
			upper = true
		case r >= 'a' && r <= 'z':
			lower = true
		case r >= '0' && r <= '9':
			number = true
		case strings.ContainsRune(passwordSymbols, r):
			symbol = true
		}
	}
	p := a.settings.PasswordPolicy
	least := defaultPasswordLength
	if p != nil {
		least = int(p.MinimumLength)
	}
	if utf8.RuneCountInString(password) < least {
		return weakPassword("Password should have a minimum length of %d", least)
	}
	if p == nil {
		kinds := 0
		for _, has := range []bool{upper, lower, number, symbol} {
			if has {
				kinds++
			}
		}
		switch {
		case kinds < 3:
			return weakPassword("Password should have at least three of uppercase letters, lowercase letters, numbers and symbols")
		case password == a.settings.Alias || password == a.settings.ID:
			return weakPassword("Password should not be the name of the account")
		}
		return nil
	}
	switch {
	case p.Uppercase && !upper:
		return weakPassword("Password should have at least one uppercase letter")
	case p.Lowercase && !lower:
		return weakPassword("Password should have at least one lowercase letter")
	case p.Numbers && !number:
		return weakPassword("Password should have at least one number")
	case p.Symbols && !symbol:
		return weakPassword("Password should have at least one symbol")
	}
	return nil
}
