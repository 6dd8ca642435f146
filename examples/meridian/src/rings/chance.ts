/** −log10 of P(X ≥ k) for X ~ Poisson(mean). */
export function poissonSurprise(k: number, mean: number): number {
  if (k <= 0) return 0
  // The first term dominates for k > mean; the sum is capped where further terms no longer matter.
  let term = Math.exp(k * Math.log(mean) - mean - logFactorial(k))
  let tail = 0
  for (let i = k; i < k + 200; i++) {
    tail += term
    term *= mean / (i + 1)
  }
  return -Math.log10(Math.min(1, Math.max(tail, 1e-300)))
}

/** −log10 of P(X ≥ k) for X ~ binomial(n, p). */
export function binomialSurprise(k: number, n: number, p: number): number {
  if (k <= 0 || p >= 1) return 0
  let tail = 0
  for (let i = k; i <= n; i++) {
    const choose = logFactorial(n) - logFactorial(i) - logFactorial(n - i)
    tail += Math.exp(choose + i * Math.log(p) + (n - i) * Math.log1p(-p))
  }
  return -Math.log10(Math.min(1, Math.max(tail, 1e-300)))
}

/** −log10 of the chance that at least one of n payments matches, each with chance p. */
export function matchSurprise(n: number, p: number): number {
  if (p >= 1) return 0
  return -Math.log10(Math.max(1e-300, -Math.expm1(Math.max(1, n) * Math.log1p(-p))))
}

const FACTORIALS: number[] = [0]
function logFactorial(n: number): number {
  for (let i = FACTORIALS.length; i <= n; i++) {
    FACTORIALS.push((FACTORIALS[i - 1] ?? 0) + Math.log(i))
  }
  return FACTORIALS[n] ?? 0
}
