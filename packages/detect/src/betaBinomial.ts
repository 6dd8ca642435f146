/** Lanczos approximation of ln Γ(x), x > 0; relative error below 1e-9 (Numerical Recipes, 6.1). @internal */
export function logGamma(x: number): number {
  const coefficients = [
    76.18009172947146, -86.50532032941678, 24.01409824083091, -1.231739572450155,
    0.1208650973866179e-2, -0.5395239384953e-5,
  ]
  const shifted = x + 5.5
  const lead = (x + 0.5) * Math.log(shifted) - shifted
  let series = 1.000000000190015
  for (const [index, coefficient] of coefficients.entries()) series += coefficient / (x + 1 + index)
  return lead + Math.log((2.506628274631 * series) / x)
}

const logBeta = (a: number, b: number): number => logGamma(a) + logGamma(b) - logGamma(a + b)

/**
 * P(X ≥ k) for X ~ beta-binomial(n, a, b): how likely so many denials among n calls are for an agent whose denial
 * rate is only known as Beta(a, b).
 */
export function betaBinomialTail(k: number, n: number, a: number, b: number): number {
  if (k <= 0) return 1
  const base = logBeta(a, b)
  let below = 0
  for (let i = 0; i < k; i++) {
    const choose = logGamma(n + 1) - logGamma(i + 1) - logGamma(n - i + 1)
    below += Math.exp(choose + logBeta(i + a, n - i + b) - base)
  }
  return Math.min(1, Math.max(0, 1 - below))
}
