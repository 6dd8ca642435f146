import type { ReactNode } from 'react'
import { setTheme, useTheme } from '../lib/theme.ts'
import type { Theme } from '../lib/theme.ts'
import { Icon } from '../ui/icon.tsx'
import type { IconName } from '../ui/icon.tsx'

const NEXT: Readonly<Record<Theme, Theme>> = { system: 'light', light: 'dark', dark: 'system' }
const ICON: Readonly<Record<Theme, IconName>> = { system: 'auto', light: 'sun', dark: 'moon' }

/** System → light → dark → system. */
export function ThemeToggle(): ReactNode {
  const theme = useTheme()
  const label = `Theme: ${theme}. Change to ${NEXT[theme]}`
  return (
    <button
      type="button"
      className="icon-button"
      aria-label={label}
      title={label}
      onClick={() => setTheme(NEXT[theme])}
    >
      <Icon name={ICON[theme]} />
    </button>
  )
}
