"""``python -m sb3_quantum.enjoy``: ``rl_zoo3.enjoy`` with qtd3 registered explicitly."""


def main() -> None:
    """Run ``rl_zoo3.enjoy`` with all of its options."""
    from sb3_quantum.zoo import register

    register()
    import rl_zoo3.enjoy

    rl_zoo3.enjoy.enjoy()


if __name__ == "__main__":
    main()
