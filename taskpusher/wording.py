"""Figures as people read them: spans of time, bytes."""


def short(seconds: float | None) -> str:
    """A span in its biggest unit or two: 12ms, 2.5s, 45s, 3m, 2h5m, 4d3h."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.3g}ms"
    if seconds < 120:
        return f"{seconds:.0f}s" if seconds >= 10 else f"{seconds:.2g}s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 60:
        return f"{minutes}m"
    whole, rest = (f"{hours}h", f"{minutes % 60}m") if hours < 24 else (f"{days:,}d", f"{hours % 24}h")
    return whole if rest.startswith("0") else whole + rest


def size(number: int) -> str:
    """Bytes: 512 B, 1.5 MiB."""
    amount, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
