/** A step of 1, 2 or 5 times a power of ten that divides `span` into at most `most` parts. */
export function niceStep(span: number, most: number): number {
  const rough = span / Math.max(1, most);
  if (!(rough > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((each) => each * power >= rough * (1 - 1e-9)) ?? 10;
  return factor * power;
}

/** Round values inside `[low, high]`, at least `least` apart. */
export function ticks(low: number, high: number, most = 5, least = 0): number[] {
  const step = Math.max(niceStep(high - low, most), least);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const decimals = Math.max(0, -Math.floor(Math.log10(step)));
  const all: number[] = [];
  // Rounded so that 3 * 0.1 reads 0.3; `+ 0` turns -0 into 0.
  for (let i = first; i <= last; i++) all.push(Number((i * step).toFixed(decimals)) + 0);
  return all;
}

/** The values' range with some air; never empty. */
export function extent(values: Iterable<number>): [number, number] {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return [0, 1];
  const air = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  return [low - air, high + air];
}

/** Map `from` onto `to`. */
export function linear(from: [number, number], to: [number, number]): (value: number) => number {
  const slope = (to[1] - to[0]) / (from[1] - from[0] || 1);
  return (value) => to[0] + (value - from[0]) * slope;
}

/** Short, with three significant digits. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const large = Math.abs(value) >= 1e5;
  const text =
    large || (value !== 0 && Math.abs(value) < 1e-3)
      ? value.toExponential(1)
      : String(Number(value.toPrecision(3)));
  return text.replaceAll("-", "−");
}

export function percent(share: number): string {
  return Number.isFinite(share) ? `${(100 * share).toFixed(1).replace("-", "−")}%` : "–";
}
