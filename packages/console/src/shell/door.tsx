import { useEffect } from 'react'
import type { ReactNode } from 'react'
import { Icon } from '../ui/icon.tsx'
import { ThemeToggle } from './theme-toggle.tsx'

/** What stands outside: sign-in, enrolment, and what keeps one from either. */
export function Door({ title, children }: { title: string; children: ReactNode }): ReactNode {
  useEffect(() => {
    document.title = `${title} · Sallyport`
  }, [title])
  return (
    <div className="door">
      <div className="door-theme">
        <ThemeToggle />
      </div>
      <main className="door-card">
        <p className="brand">
          <Icon name="gate" size={26} /> Sallyport
        </p>
        <h1>{title}</h1>
        {children}
      </main>
      <p className="door-foot">Every call passes two doors. So does every operator.</p>
    </div>
  )
}
