/**
 * A browser started without a locale can name its language `en-US@posix`, which is no language tag (BCP 47): `Intl` throws for
 * it, and uPlot hands it to `Intl` as it is loaded. Such a browser is read in English.
 */
export function mendLanguage(): void {
  try {
    Intl.getCanonicalLocales(navigator.language)
  } catch {
    Object.defineProperty(navigator, 'language', { value: 'en-GB', configurable: true })
  }
}
