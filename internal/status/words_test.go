package status

import "testing"

func TestWords(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{Lasting(0), "0 ms"}, {Lasting(0.00021), "0.21 ms"}, {Lasting(0.0123), "12 ms"}, {Lasting(0.9999), "1 s"}, {Lasting(1.54), "1.5 s"},
		{Lasting(9.96), "10 s"}, {Lasting(59.7), "1 min"}, {Lasting(200), "3 min 20 s"}, {Lasting(3600), "1 h"}, {Lasting(18600), "5 h 10 min"},
		{Lasting(187200), "2 d 4 h"}, {Lasting(-90), "-1 min 30 s"},
		{Size(0), "0 B"}, {Size(999), "999 B"}, {Size(1000), "1 KiB"}, {Size(1536), "1.5 KiB"}, {Size(1 << 40), "1 TiB"}, {Size(-2048), "-2 KiB"},
		{Percent(1), "100 %"}, {Percent(0), "0 %"}, {Percent(0.9995), "99.95 %"}, {Percent(0.99999), "99.999 %"}, {Percent(0.999999999),
			"99.999999 %"},
		{Percent(0.5), "50 %"}, {Percent(0.999), "99.9 %"}, {Percent(0.998951), "99.89 %"}, {Percent(0.998999), "99.89 %"}, {Percent(0.57),
			"57 %"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}
