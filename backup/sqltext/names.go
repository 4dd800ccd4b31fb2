package sqltext

import (
	"reflect"
	"strings"
	"unicode/utf8"
)

// A name in a database of encoding SQL_ASCII, or in the catalogues that all databases share, is bytes that need not be
// UTF-8; a manifest, a log and a page are UTF-8. Text writes such a byte as one character of Unicode's private area,
// U+F780 for byte 0x80 to U+F7FF for 0xFF, and Bytes turns it back. A name that has one of these characters of its
// own has that one written byte by byte, so that nothing is lost either way.
const private = 0xF700

func isPrivate(r rune) bool { return r >= private+0x80 && r <= private+0xFF }

// Text is a name as it stands in manifests and messages. What is UTF-8 stays as it is.
func Text(name string) string {
	if utf8.ValidString(name) && strings.IndexFunc(name, isPrivate) < 0 {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && n == 1 || isPrivate(r) {
			for _, c := range []byte(name[i : i+n]) {
				b.WriteRune(private + rune(c))
			}
		} else {
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// Bytes is the name that Text wrote, as the server has it.
func Bytes(text string) string {
	if strings.IndexFunc(text, isPrivate) < 0 {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case isPrivate(r):
			b.WriteByte(byte(r - private))
		case r == utf8.RuneError:
			_, n := utf8.DecodeRuneInString(text[i:])
			b.WriteString(text[i : i+n])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Readable writes every string that a pointer leads to by Text: what was read from a server.
func Readable(v any) { readable(reflect.ValueOf(v)) }

func readable(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			readable(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			readable(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			readable(v.Index(i))
		}
	case reflect.String:
		if v.CanSet() {
			v.SetString(Text(v.String()))
		}
	}
}
