import { useEffect, useRef } from 'react'
import type { ReactNode } from 'react'
import { Link, useLocation } from 'wouter'
import type { Asked } from '../api/asked-types.ts'
import { useLiveStream } from '../api/live.ts'
import { useResource } from '../api/resource.ts'
import type { Approval, Incident } from '../api/types.ts'
import { Icon } from '../ui/icon.tsx'
import type { IconName } from '../ui/icon.tsx'
import { GlassBanner } from './glass-banner.tsx'
import { Header } from './header.tsx'

/** The frame of every signed-in screen. */
export function Shell({ children }: { children: ReactNode }): ReactNode {
  useLiveStream()
  const pending = useResource<readonly Approval[]>('/approvals?status=pending')
  const asked = useResource<readonly Asked[]>('/backchannel')
  const waiting =
    (pending.data?.length ?? 0) +
    (asked.data ?? []).filter(({ status }) => status === 'pending').length
  const incidents = useResource<readonly Incident[]>('/incidents')
  const open = incidents.data?.filter(({ status }) => status !== 'closed').length ?? 0
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <nav className="nav" aria-label="Screens">
        <Link href="/" className="brand">
          <Icon name="gate" size={22} /> <span>Sallyport</span>
        </Link>
        <NavItem to="/" icon="map" label="Overview" />
        <NavItem to="/decisions" icon="list" label="Decisions" />
        <NavItem to="/approvals" icon="stamp" label="Approvals" badge={waiting} of="waiting" />
        <NavItem to="/agents" icon="agent" label="Agents" />
        <NavItem to="/incidents" icon="incident" label="Incidents" badge={open} of="open" />
        <NavItem to="/mandates" icon="mandate" label="Mandates" />
        <NavItem to="/network" icon="network" label="Network" />
        <NavItem to="/inventory" icon="system" label="Inventory" />
        <NavItem to="/keys" icon="key" label="Keys" />
        <NavItem to="/sessions" icon="person" label="Sessions" />
      </nav>
      <Header />
      <main id="main" className="main" tabIndex={-1}>
        <GlassBanner />
        {children}
      </main>
    </div>
  )
}

function NavItem(props: {
  to: string
  icon: IconName
  label: string
  badge?: number | undefined
  of?: string
}): ReactNode {
  const [path] = useLocation()
  const link = useRef<HTMLAnchorElement>(null)
  const here = path === props.to || (props.to !== '/' && path.startsWith(`${props.to}/`))
  useEffect(() => {
    // On a phone the menu is wider than the screen. `scrollIntoView` would also move where Tab begins.
    const nav = link.current?.closest('nav')
    if (!here || !link.current || !nav) return
    const [own, whole] = [link.current.getBoundingClientRect(), nav.getBoundingClientRect()]
    nav.scrollLeft += own.left - whole.left - (whole.width - own.width) / 2
  }, [here])
  return (
    <Link
      ref={link}
      href={props.to}
      className={here ? 'nav-item here' : 'nav-item'}
      {...(here && { 'aria-current': 'page' as const })}
    >
      <Icon name={props.icon} />
      <span>{props.label}</span>
      {props.badge !== undefined && props.badge > 0 && (
        <span className="nav-badge num">
          {props.badge}
          <span className="sr-only"> {props.of}</span>
        </span>
      )}
    </Link>
  )
}
